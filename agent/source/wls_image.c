/* SPDX-License-Identifier: Apache-2.0 */
#include "source/wls_image.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "source/key_origin.h"
#include "source/wls_image_answer.h"

#define PATH_SIZE 192u

struct wls_image_source {
        struct wls_image_options options;
};

static int read_answer(void *userdata, const struct http_answer *answer, enum wls_next *ret_next,
                       struct wla_error *err) {
        return wls_image_answer_read(answer, userdata, ret_next, err);
}

static int read_state(void *userdata, const struct http_answer *answer, enum wls_next *ret_next,
                      struct wla_error *err) {
        enum wls_flavor_state *state = userdata;

        (void)err;
        *ret_next = WLS_FINAL;
        *state = wls_flavor_answer_read(answer);
        return 0;
}

/* Why there was no key, from the flavor alone; without a better reason the old one stays.  It is no request
 * of its own: how the one for the key has ended is on record already. */
static void explain(const struct wls_image_source *source, const struct key_request *request,
                    struct wla_error *err) {
        enum wls_flavor_state state = WLS_FLAVOR_UNKNOWN;
        struct wls_service service = source->options.service;
        struct wla_error ignored = {0};
        char path[PATH_SIZE];
        const struct wls_call call = {
                .method = "GET",
                .path = path,
                .read = read_state,
                .userdata = &state,
        };

        (void)snprintf(path, sizeof(path), "/images/%s/flavors?flavor_part=" FLAVOR_PART_IMAGE,
                       request->id.image.text);
        service.record = NULL;
        if (wls_call(&service, &call, &request->deadline, &ignored) < 0)
                return;
        if (state == WLS_FLAVOR_MISSING)
                (void)wla_fail_hint(err, WLA_E_NOT_FOUND,
                                    "post the image's flavor to WLS, and the image under its UUID "
                                    "with that flavor",
                                    "WLS has no flavor for the image");
        else if (state == WLS_FLAVOR_UNENCRYPTED)
                (void)wla_fail_hint(err, WLA_E_DENIED, "the image is protected on this host",
                                    "the flavor says that the image is not encrypted");
}

static int ask(const struct wls_image_source *source, const struct key_request *request,
               struct wls_image_answer *ret, struct wla_error *err) {
        char path[PATH_SIZE];
        const struct wls_call call = {
                .method = "GET",
                .path = path,
                .read = read_answer,
                .attests = true,
                .userdata = ret,
        };

        (void)snprintf(path, sizeof(path), "/images/%s/flavor-key?hardware_uuid=%s",
                       request->id.image.text, source->options.hardware.text);
        if (wls_call(&source->options.service, &call, &request->deadline, err) == 0)
                return 0;
        if (ret->ambiguous)
                explain(source, request, err);
        return -1;
}

/* The link in the one form that headers of images are compared with. */
static int read_link(const struct flavor *flavor, char to[FLAVOR_TEXT_SIZE],
                     struct wla_error *err) {
        struct key_link link;
        struct key_id id;

        if (key_id_parse(flavor->key_url, strlen(flavor->key_url), &id, err) < 0 ||
            id.scheme != KEY_SCHEME_HTTPS || key_link_read(&id, &link, err) < 0 ||
            strlen(link.url) >= FLAVOR_TEXT_SIZE)
                return wla_fail(err, WLA_E_DENIED, "its key_url is no key transfer link");
        memcpy(to, link.url, strlen(link.url) + 1);
        return 0;
}

static int judge(const struct wls_image_source *source, const struct key_request *request,
                 const struct wls_image_answer *answer, struct flavor_terms *terms,
                 struct wla_error *err) {
        const struct flavor *flavor = &answer->flavor;

        if (source->options.verify &&
            flavor_verify(flavor, &answer->signature, &source->options.trust, err) < 0)
                return -1;
        if (strcmp(flavor->description[FLAVOR_PART], FLAVOR_PART_IMAGE) != 0)
                return wla_fail(err, WLA_E_DENIED, "it is not for an image of VMs");
        if (read_link(flavor, terms->key_url, err) < 0)
                return -1;
        memcpy(terms->digest, flavor->digest, sizeof(terms->digest));
        terms->verdict = (struct flavor_verdict){
                .present = true,
                .image = request->id.image,
                .encryption_required = flavor->encryption_required,
                .integrity_enforced = flavor->integrity_enforced,
                .signature_verified = source->options.verify,
        };
        return uuid_parse(flavor->id, strlen(flavor->id), &terms->verdict.flavor, err);
}

static int fetch(void *self, const struct key_request *request, struct envelope *ret,
                 struct wla_error *err) {
        const struct wls_image_source *source = self;
        struct wls_image_answer answer = {0};

        assert(request->id.scheme == KEY_SCHEME_WLS);

        if (ask(source, request, &answer, err) < 0)
                return -1;
        if (judge(source, request, &answer, &ret->terms, err) < 0)
                return wla_wrap(err, "flavor %s", answer.flavor.id);
        ret->kind = ENVELOPE_HOST_BOUND;
        return buf_append(&ret->bytes, answer.wrapped, sizeof(answer.wrapped), err);
}

static bool obstacle(void *self, struct wla_error *err) {
        const struct wls_image_source *source = self;

        return wls_service_obstacle(&source->options.service, err);
}

static const struct key_source_ops ops = {
        .name = "wls-images",
        .fetch = fetch,
        .obstacle = obstacle,
};

int wls_image_source_new(const struct wls_image_options *options, struct wls_image_source **ret,
                         struct wla_error *err) {
        struct wls_image_source *source = calloc(1, sizeof(*source));

        if (!source)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        source->options = *options;
        *ret = source;
        return 0;
}

struct wls_image_source *wls_image_source_free(struct wls_image_source *source) {
        free(source);
        return NULL;
}

struct key_source wls_image_source_as_source(struct wls_image_source *source) {
        return (struct key_source){.ops = &ops, .self = source};
}
