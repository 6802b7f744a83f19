/* SPDX-License-Identifier: Apache-2.0 */
#include "source/hardware_uuid.h"

#include <fcntl.h>
#include <string.h>

#include "base/file.h"

#define FIRMWARE "/sys/class/dmi/id/product_uuid"

static int read_firmware(struct uuid *ret, struct wla_error *err) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(4096);

        if (file_read(AT_FDCWD, FIRMWARE, &text, err) < 0)
                return -1;
        if (text.size > 0 && text.data[text.size - 1] == '\n')
                text.size--;
        if (uuid_parse((const char *)text.data, text.size, ret, err) < 0)
                return wla_wrap(err, FIRMWARE);
        return 0;
}

int hardware_uuid_read(const char *option, struct uuid *ret, struct wla_error *err) {
        if (strcmp(option, "auto") != 0) {
                if (uuid_parse(option, strlen(option), ret, err) < 0)
                        return wla_wrap(err, "HardwareUUID=");
                return 0;
        }
        if (read_firmware(ret, err) == 0)
                return 0;
        err->hint =
                "set HardwareUUID= to the UUID by which HVS knows this host; root reads it with "
                "'cat " FIRMWARE "'";
        return wla_wrap(err, "HardwareUUID=auto");
}
