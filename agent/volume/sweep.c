/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/sweep.h"

#include "base/log.h"
#include "volume/device_mapper.h"

struct outcome {
        bool failed;
        struct wla_error first;
};

static int sweep_one(const char *text, void *userdata, struct wla_error *err) {
        struct outcome *outcome = userdata;
        struct volume_name name;
        struct dm_device device;

        /* A name like ours, made by somebody else. */
        if (volume_name_parse(text, &name, err) < 0)
                return 0;
        if (dm_device_find(text, &device, err) == 0) {
                if (!device.exists || device.leaves_at_last_close)
                        return 0;
                if (dm_device_remove(text, true, err) == 0) {
                        log_line(LOG_NOTICE, "%s had been left behind; it goes when nobody uses it",
                                 text);
                        return 0;
                }
        }
        if (err->code != WLA_E_NOT_FOUND && !outcome->failed) {
                outcome->failed = true;
                outcome->first = *err;
        }
        return 0;
}

int sweep_mappings(struct wla_error *err) {
        struct outcome outcome = {0};

        if (dm_device_each(sweep_one, &outcome, err) < 0)
                return -1;
        if (outcome.failed) {
                *err = outcome.first;
                return -1;
        }
        *err = (struct wla_error){0};
        return 0;
}
