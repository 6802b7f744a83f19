/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/direct_record.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "volume/layer_directory.h"

#define DIRECTORY   "direct"
#define RECORD_MAX  512u
#define TEXT_TYPE   "type "
#define TEXT_INODE  "inode "
#define TEXT_HANDLE "handle "

union handle {
        struct file_handle head;
        uint8_t bytes[sizeof(struct file_handle) + MAX_HANDLE_SZ];
};

/* Network file systems may have no handles; their inode numbers are the server's. */
static int describe_inode(int data_fd, struct buf *to, struct wla_error *err) {
        struct stat status;

        if (fstat(data_fd, &status) < 0)
                return wla_fail_errno(err, errno, "looking at the image");
        return buf_printf(to, err, TEXT_INODE "%ju\n", (uintmax_t)status.st_ino);
}

/* "type NUMBER" and "handle HEX", a line each; or "inode NUMBER". */
static int describe(int data_fd, struct buf *to, struct wla_error *err) {
        union handle handle = {.head.handle_bytes = MAX_HANDLE_SZ};
        int mount;

        if (name_to_handle_at(data_fd, "", &handle.head, &mount, AT_EMPTY_PATH) < 0) {
                if (errno == EOPNOTSUPP)
                        return describe_inode(data_fd, to, err);
                return wla_fail_errno(err, errno, "asking for the image's handle");
        }
        if (buf_printf(to, err, TEXT_TYPE "%d\n" TEXT_HANDLE, handle.head.handle_type) < 0)
                return -1;
        for (unsigned i = 0; i < handle.head.handle_bytes; i++)
                if (buf_printf(to, err, "%02x", handle.head.f_handle[i]) < 0)
                        return -1;
        return buf_append_text(to, "\n", err);
}

int direct_record_find(const struct layer_store *store, const struct uuid *header, int data_fd,
                       bool *ret_known, struct wla_error *err) {
        _cleanup_buf_ struct buf present = BUF_WITH_LIMIT(RECORD_MAX);
        _cleanup_buf_ struct buf kept = BUF_WITH_LIMIT(RECORD_MAX);
        _cleanup_close_ int fd = -1;

        *ret_known = false;
        if (layer_directory_make(store->fd, DIRECTORY, &fd, err) < 0)
                return -1;
        if (file_read(fd, header->text, &kept, err) < 0) {
                if (err->code != WLA_E_NOT_FOUND)
                        return wla_wrap(err, "the record of the image");
                *err = (struct wla_error){0};
                return 0;
        }
        if (describe(data_fd, &present, err) < 0)
                return -1;
        *ret_known = kept.size == present.size && memcmp(kept.data, present.data, kept.size) == 0;
        return 0;
}

int direct_record_write(const struct layer_store *store, const struct uuid *header, int data_fd,
                        struct wla_error *err) {
        _cleanup_buf_ struct buf record = BUF_WITH_LIMIT(RECORD_MAX);
        _cleanup_close_ int fd = -1;

        if (describe(data_fd, &record, err) < 0 ||
            layer_directory_make(store->fd, DIRECTORY, &fd, err) < 0)
                return -1;
        return file_write(fd, header->text, record.data, record.size, S_IRUSR | S_IWUSR, true, err);
}
