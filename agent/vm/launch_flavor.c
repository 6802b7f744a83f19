/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <string.h>

#include "source/key_origin.h"
#include "vm/launch_disk.h"

/* With less than this left the start is given up, so that its reason arrives. */
#define DIGEST_MARGIN (2 * USEC_PER_SEC)

static const char hint_another[] =
        "the file was changed, or WLS has the flavor of another version of "
        "the image";
static const char hint_again[] =
        "start the VM again: the reading goes on meanwhile, and is done once";

/* The header names the key by the broker's link, the domain the image by which WLS knows that link. */
static int judge_link(const struct launch_disk *disk, struct wla_error *err) {
        const struct key_id *named = &disk->header.image.key_id;
        struct key_link link;

        if (disk->isecl || disk->format != VOLUMED_FORMAT_OURS || named->scheme != KEY_SCHEME_HTTPS)
                return 0;
        if (key_link_read(named, &link, err) < 0)
                return wla_wrap(err, "its header");
        if (strcmp(link.url, disk->terms.key_url) != 0)
                return wla_fail_hint(err, WLA_E_DENIED, hint_another,
                                     "its header names another key than its flavor");
        return 0;
}

static int judge(const struct launch_disk *disk, struct wla_error *err) {
        const struct flavor_verdict *verdict = &disk->terms.verdict;

        if (!verdict->present || !verdict->encryption_required)
                return wla_fail(err, WLA_E_DENIED, "its key came without a flavor");
        if (!uuid_equal(&verdict->image, &disk->key_id.image))
                return wla_fail(err, WLA_E_DENIED, "its flavor is for the image %s",
                                verdict->image.text);
        return judge_link(disk, err);
}

int launch_disk_judge_flavor(const struct launch_disk *disk, struct wla_error *err) {
        if (disk->key_id.scheme != KEY_SCHEME_WLS || judge(disk, err) == 0)
                return 0;
        return wla_wrap(err, "disk %s: the image %s", disk->line.target, disk->line.image);
}

/* Until it is known, or there is no time left. */
static int ask_for_digest(const struct launch_disk *disk, const struct launch_place *place,
                          struct volumed_reply *reply, struct wla_error *err) {
        const struct volumed_request request = {.operation = VOLUMED_DIGEST_IMAGE};
        const struct volume_call call = {.request = &request, .header_fd = -1};

        for (;;) {
                if (volume_session_call(disk->image, &call, place->deadline, reply, err) < 0)
                        return -1;
                if (reply->has_digest)
                        return 0;
                if (deadline_left_usec(place->deadline) >= DIGEST_MARGIN)
                        continue;

                uint64_t size = reply->size > 0 ? reply->size : 1;
                unsigned percent = (unsigned)((double)reply->digested * 100 / (double)size);
                return wla_fail_hint(err, WLA_E_TIMEOUT, hint_again,
                                     "the image %s is being read, to hold it against flavor %s: "
                                     "%u %% of %" PRIu64 " bytes so far",
                                     disk->line.image, disk->terms.verdict.flavor.text, percent,
                                     reply->size);
        }
}

int launch_disk_check_digest(struct launch_disk *disk, const struct launch_place *place,
                             struct wla_error *err) {
        struct volumed_reply reply;

        if (disk->key_id.scheme != KEY_SCHEME_WLS)
                return 0;
        disk->terms.verdict.digest_verified = false;
        if (ask_for_digest(disk, place, &reply, err) < 0)
                return -1;
        if (memcmp(reply.digest, disk->terms.digest, sizeof(reply.digest)) != 0)
                return wla_fail_hint(err, WLA_E_DENIED, hint_another,
                                     "the image %s is not the one that flavor %s is for",
                                     disk->line.image, disk->terms.verdict.flavor.text);
        disk->terms.verdict.digest_verified = true;
        return 0;
}
