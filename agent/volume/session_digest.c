/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "volume/session.h"

/* How long an answer may take: who asks has to be able to give up in between. */
#define STEP_USEC (400 * USEC_PER_MSEC)

/* Whoever may write there could have any image pass for any other. */
int session_open_digests(const struct session *session, int *ret_fd, struct wla_error *err) {
        const char *path = session->config->volumes.digest_directory;
        _cleanup_close_ int fd = -1;
        struct stat status;

        if (file_open_directory(path, /* create= */ true, S_IRWXU, &fd, err) < 0)
                return wla_wrap(err, "DigestDirectory=");
        if (fstat(fd, &status) < 0)
                return wla_fail_errno(err, errno, "looking at %s", path);
        if (status.st_uid != geteuid() || (status.st_mode & (S_IRWXG | S_IRWXO)) != 0)
                return wla_fail_hint(err, WLA_E_DENIED,
                                     "it belongs to root, with mode 0700: 'chown root' and 'chmod "
                                     "0700' it",
                                     "DigestDirectory=%s is open to others than root", path);
        *ret_fd = TAKE_FD(fd);
        return 0;
}

/* Of an image that has been converted, what stands there is what a flavor is for. */
static int source_of(const struct session *session) {
        return session->source_fd >= 0 ? session->source_fd : session->image.fd;
}

static int begin(struct session *session, struct wla_error *err) {
        _cleanup_close_ int directory_fd = -1;

        if (session_open_digests(session, &directory_fd, err) < 0)
                return -1;
        return image_digest_begin(directory_fd, source_of(session), &session->digest, err);
}

int session_digest_image(struct session *session, struct session_step *step,
                         struct wla_error *err) {
        struct image_digest *digest = &session->digest;

        if ((digest->image_fd < 0 && begin(session, err) < 0) ||
            image_digest_advance(digest, STEP_USEC, err) < 0)
                return wla_wrap(err, "its digest");
        step->reply->size = digest->state.size;
        step->reply->digested = digest->done;
        step->reply->has_digest = digest->ready;
        if (digest->ready)
                memcpy(step->reply->digest, digest->bytes, sizeof(step->reply->digest));
        return 0;
}

int session_check_digested(const struct session *session, struct wla_error *err) {
        struct image_state now;

        if (session->digest.image_fd < 0)
                return 0;
        if (image_state_read(source_of(session), &now, err) < 0)
                return -1;
        if (!session->digest.ready || !image_state_equal(&now, &session->digest.state))
                return wla_fail_hint(err, WLA_E_DENIED, "start again",
                                     "the image has been changed since its digest was computed");
        return 0;
}

void session_finish_digest(struct session *session) {
        struct wla_error err = {0};

        /* One that is not kept would be nobody's. */
        if (!session->digest.computes || !session->digest.state.lasting)
                return;
        if (image_digest_advance(&session->digest, UINT64_MAX, &err) == 0)
                log_line(LOG_INFO, "the digest of %s has been computed", session->path);
        else
                log_line(LOG_WARNING, "the digest of %s: %s", session->path, wla_error_text(&err));
}
