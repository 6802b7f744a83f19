/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "image/isecl_image.h"
#include "image/disk_content.h"
#include "image/sector_cipher.h"
#include "image/volume_key.h"
#include "volume/crypt_volume.h"
#include "volume/direct_record.h"
#include "volume/ordinary_key.h"
#include "volume/session.h"
#include "volume/used_files.h"

#define HEAD_SIZE 16u

static const char luks_magic[6] = {'L', 'U', 'K', 'S', (char)0xba, (char)0xbe};

static const char hint_header[] =
        "put the header beside the image as PATH.header, or name it; that of an image of Glance's "
        "is registered: wlagent-nova(7); a PATH.header.replaced is what an interrupted "
        "'wlagent image encrypt --force' has left: see wlagent-image(1)";
static const char hint_pair[] = "use the header that was made with this image";
static const char hint_copy[] = "the header is another image's, or this is a copy of a disk that "
                                "was written to: make a new image of it with 'wlagent image'; a "
                                "disk that another host has written to: see wlagent-volumed(8)";
static const char hint_isecl[] = "such an image is converted once before it is opened";
static const char hint_converted[] =
        "choose mode layer or ephemeral, or make an image of wlagent of "
        "it with 'wlagent image'";

static int read_head(int fd, uint8_t *head, size_t size, struct wla_error *err) {
        ssize_t got = pread(fd, head, size, 0);

        if (got < 0)
                return wla_fail_errno(err, errno, "reading the image");
        if ((size_t)got < size)
                return wla_fail(err, WLA_E_INPUT, "the image has only %zd bytes", got);
        return 0;
}

/* The header that was handed over, else the one beside the image, else the image's own head. */
static int find_header(struct session *session, int attached_fd, bool named,
                       struct wla_error *err) {
        uint8_t head[HEAD_SIZE];

        session->format = VOLUMED_FORMAT_OURS;
        if (attached_fd >= 0 && session->image.header_fd >= 0 && named)
                return wla_fail(err, WLA_E_INPUT, "two headers are named");
        if (attached_fd >= 0)
                return sealed_header_copy(attached_fd, true, &session->sealed, err);
        if (session->image.header_fd >= 0)
                return sealed_header_copy(session->image.header_fd, true, &session->sealed, err);

        if (read_head(session->image.fd, head, sizeof(head), err) < 0)
                return -1;
        if (memcmp(head, luks_magic, sizeof(luks_magic)) == 0)
                return sealed_header_copy(session->image.fd, false, &session->sealed, err);
        if (!isecl_image_claimed(head, sizeof(head)))
                return wla_fail_hint(err, WLA_E_INPUT, hint_header, "the image has no header");
        session->format = VOLUMED_FORMAT_ISECL;
        return session_find_conversion(session, err);
}

static int check_sizes(const struct session *session, struct wla_error *err) {
        const struct luks2_header *header = &session->header;
        uint64_t size = session->image.size;

        if (header->kind == LUKS2_LAYER)
                return wla_fail(err, WLA_E_INPUT, "the header is that of a layer");
        if (header->kind == LUKS2_IMAGE && size != header->image.size)
                return wla_fail_hint(err, WLA_E_INPUT, hint_pair,
                                     "the image has %ju bytes, its header says %ju",
                                     (uintmax_t)size, (uintmax_t)header->image.size);
        if (size <= header->data_offset || (size - header->data_offset) % header->sector_size != 0)
                return wla_fail(err, WLA_E_INPUT, "the image has %ju bytes: no whole sectors",
                                (uintmax_t)size);
        return 0;
}

static int check_header(struct session *session, struct wla_error *err) {
        if (session->format == VOLUMED_FORMAT_ISECL)
                return 0;
        if (luks2_header_check(session->sealed.bytes, session->sealed.size, &session->header, err) <
                    0 ||
            check_sizes(session, err) < 0)
                return -1;
        if (session->header.kind == LUKS2_ORDINARY)
                session->format = VOLUMED_FORMAT_LUKS2;
        return 0;
}

int session_judge_image(struct session *session, struct session_step *step, struct wla_error *err) {
        const struct volume_name name = {.kind = VOLUME_IMAGE, .uuid = session->identity};

        if (check_header(session, err) < 0)
                return -1;

        session->state = SESSION_IMAGE;
        step->reply->format = session->format;
        step->reply->size = session->image.size;
        step->reply->allocated = session->image.allocated;
        step->reply->data_device = session->image.device;
        step->reply->data_inode = session->image.inode;
        step->reply_fd = session->sealed.fd;
        if (session->isecl)
                volume_name_write(&name, step->reply->name);
        return 0;
}

int session_inspect_image(struct session *session, struct session_step *step,
                          struct wla_error *err) {
        const char *path = step->request->path;
        const char *header = step->request->header[0] ? step->request->header : NULL;

        if (image_file_open(&session->config->volumes.image_roots, path, header, &session->image,
                            err) < 0)
                return -1;
        memcpy(session->path, path, sizeof(session->path));
        if (find_header(session, step->attached_fd, step->request->header[0] != 0, err) < 0)
                return -1;
        return session_judge_image(session, step, err);
}

static int refuse_isecl(const struct session *session, struct wla_error *err) {
        if (session->format == VOLUMED_FORMAT_ISECL)
                return wla_fail_hint(err, WLA_E_UNSUPPORTED, hint_isecl,
                                     "the image is in Intel's format");
        return 0;
}

/* Other VMs have it below their layers. */
static int refuse_converted(const struct session *session, struct wla_error *err) {
        if (session->converted)
                return wla_fail_hint(err, WLA_E_UNSUPPORTED, hint_converted,
                                     "an image in Intel's format cannot be written to");
        return 0;
}

static bool is_ours(const struct session *session) {
        return session->header.kind == LUKS2_IMAGE;
}

/* The volume, and a key that opens it. */
struct opened {
        struct crypt_volume *volume;
        struct wla_secret *own;
        const struct wla_secret *key; /* own, or the one in the request */
};

static void opened_clear(struct opened *opened) {
        opened->own = wla_secret_free(opened->own);
        opened->volume = crypt_volume_free(opened->volume);
}

#define _cleanup_opened_ __attribute__((cleanup(opened_clear)))

/* The key of an image of ours is the volume key itself, that of another one opens a keyslot. */
static int open_volume(const struct session *session, const struct wla_secret *key,
                       struct opened *ret, struct wla_error *err) {
        if (!is_ours(session) &&
            ordinary_key_get(session->sealed.fd, &session->header, key, &ret->own, err) < 0)
                return -1;
        ret->key = ret->own ? ret->own : key;
        if (crypt_volume_open(&session->sealed, &session->header, &ret->volume, err) < 0)
                return -1;
        return ret->own ? 0 : crypt_volume_check_key(ret->volume, ret->key, err);
}

/* What is written to a file without a name is lost when the VM stops; and so is a layer above a conversion
 * that has been removed since the inspection. */
static int refuse_nameless(const struct session *session, struct wla_error *err) {
        struct stat status;

        if (fstat(session->image.fd, &status) < 0)
                return wla_fail_errno(err, errno, "looking at the image");
        if (status.st_nlink == 0)
                return wla_fail(err, WLA_E_BUSY, "the image has just been replaced or removed");
        return 0;
}

int session_claim(struct session *session, dev_t device, ino_t inode, bool writable,
                  struct wla_error *err) {
        char file[64];

        (void)snprintf(file, sizeof(file), "%ju:%ju", (uintmax_t)device, (uintmax_t)inode);
        return layer_store_lock(&session->store, "file", file, !writable, err);
}

/* A file that a VM writes to is nobody else's, and one that VMs read stays as it is: by the mappings that
 * there are, and by a lock while there is none yet. */
static int claim_file(struct session *session, bool writable, struct wla_error *err) {
        if (layer_store_open(session->config->volumes.layer_directory, &session->store, err) < 0 ||
            session_claim(session, session->image.device, session->image.inode, writable, err) <
                    0 ||
            ((writable || session->converted) && refuse_nameless(session, err) < 0) ||
            session_check_digested(session, err) < 0)
                return -1;
        return used_file_refuse(session->image.device, session->image.inode, !writable, err);
}

static struct mapping_plan plan_of(const struct session *session, const struct opened *opened) {
        return (struct mapping_plan){
                .volume = opened->volume,
                .header = &session->header,
                .data_fd = session->image.fd,
                .data_size = session->image.size,
        };
}

static int read_first_sector(const struct session *session, const struct wla_secret *volume_key,
                             struct wla_secret **ret, struct wla_error *err) {
        _cleanup_sector_cipher_ struct sector_cipher *cipher = NULL;
        _cleanup_secret_ struct wla_secret *sector = NULL;
        uint32_t size = session->header.sector_size;

        if (sector_cipher_new(volume_key, size, SECTOR_DECRYPT, &cipher, err) < 0 ||
            wla_secret_new(size, &sector, err) < 0)
                return -1;
        ssize_t got = pread(session->image.fd, wla_secret_fill(sector), size, 0);
        if (got < 0)
                return wla_fail_errno(err, errno, "reading the image");
        if ((size_t)got != size)
                return wla_fail(err, WLA_E_INPUT, "the image has become shorter");
        if (sector_cipher_run(cipher, 0, wla_secret_fill(sector), size, err) < 0)
                return -1;

        *ret = TAKE_PTR(sector);
        return 0;
}

/* libvirt and QEMU follow the files that a qcow2 names, whoever has encrypted it.  A raw image is given to
 * them as raw.  A disk that is written to may have been given another size. */
static int judge_content(const struct session *session, const struct wla_secret *volume_key,
                         bool written, struct wla_error *err) {
        const struct image_token *token = &session->header.image;
        _cleanup_secret_ struct wla_secret *sector = NULL;
        struct disk_content content;

        if (!is_ours(session) || token->content != IMAGE_CONTENT_QCOW2)
                return 0;
        if (read_first_sector(session, volume_key, &sector, err) < 0 ||
            disk_content_check(wla_secret_view(sector).data, DISK_CONTENT_HEAD, token->size,
                               &content, err) < 0)
                return wla_wrap(err, "the disk inside");
        if (content.content != IMAGE_CONTENT_QCOW2 ||
            (!written && content.virtual_size != token->virtual_size))
                return wla_fail(err, WLA_E_INPUT, "the disk inside is not what the header says");
        return 0;
}

/* One makes the mapping, and the others sleep meanwhile: a loop device of each, and their asking whether it is
 * there, would keep udev from its work. */
static int make_or_share(struct session *session, const struct mapping_plan *plan,
                         const struct wla_secret *volume_key, struct mapping *ret,
                         struct wla_error *err) {
        const char *image = plan->name.uuid.text;

        if (layer_store_wait_lock(&session->store, "mapping", image, err) < 0)
                return -1;
        int outcome = mapping_make_or_share(plan, volume_key, ret, err);
        layer_store_unlock(&session->store, "mapping", image);
        return outcome;
}

int session_open_image(struct session *session, struct session_step *step, struct wla_error *err) {
        _cleanup_mapping_ struct mapping mapping = MAPPING_NONE;
        _cleanup_opened_ struct opened opened = {0};

        if (refuse_isecl(session, err) < 0 || open_volume(session, step->key, &opened, err) < 0 ||
            (is_ours(session) &&
             image_probe_check(opened.key, &session->header, session->image.fd, err) < 0) ||
            judge_content(session, opened.key, false, err) < 0 ||
            claim_file(session, false, err) < 0)
                return -1;

        struct mapping_plan plan = plan_of(session, &opened);
        plan.name.kind = VOLUME_IMAGE;
        plan.name.uuid = session->header.uuid;
        if (make_or_share(session, &plan, opened.key, &mapping, err) < 0)
                return -1;
        session_note_use(session);
        session_hold(session, &plan, &mapping, step);
        return 0;
}

/* A disk that is written to outgrows its probe.  So who wrote to it here is kept, and before the first
 * write the probe has to match. */
static int check_pair(struct session *session, const struct wla_secret *key,
                      struct wla_error *err) {
        bool known;

        if (!is_ours(session))
                return 0;
        if (direct_record_find(&session->store, &session->header.uuid, session->image.fd, &known,
                               err) < 0)
                return -1;
        if (known)
                return 0;
        if (image_probe_check(key, &session->header, session->image.fd, err) < 0) {
                if (err->code == WLA_E_DENIED)
                        err->hint = hint_copy;
                return -1;
        }
        return direct_record_write(&session->store, &session->header.uuid, session->image.fd, err);
}

int session_open_direct(struct session *session, struct session_step *step, struct wla_error *err) {
        _cleanup_mapping_ struct mapping mapping = MAPPING_NONE;
        _cleanup_opened_ struct opened opened = {0};
        _cleanup_close_ int data_fd = -1;

        if (refuse_isecl(session, err) < 0 || refuse_converted(session, err) < 0 ||
            open_volume(session, step->key, &opened, err) < 0 ||
            claim_file(session, true, err) < 0 ||
            judge_content(session, opened.key, true, err) < 0 ||
            check_pair(session, opened.key, err) < 0 ||
            image_file_reopen(session->image.fd, &data_fd, err) < 0)
                return -1;

        struct mapping_plan plan = plan_of(session, &opened);
        plan.name.kind = VOLUME_DISK;
        plan.name.uuid = step->request->vm;
        memcpy(plan.name.target, step->request->target, sizeof(plan.name.target));
        plan.data_fd = data_fd;
        plan.writable = true;
        plan.discards = session->config->volumes.discard;
        if (mapping_make(&plan, opened.key, &mapping, err) < 0)
                return -1;
        session_hold(session, &plan, &mapping, step);
        return 0;
}
