/* SPDX-License-Identifier: Apache-2.0 */
#include "fail_allocation.h"
#include "suite.h"
#include "temporary_store.h"

#include "source/local.h"

static void request_for(const char *name, struct key_request *ret) {
        struct wla_error err = {0};

        memset(ret, 0, sizeof(*ret));
        ck_assert_int_eq(key_id_local(name, &ret->id, &err), 0);
}

static void put_sample(const struct temporary_store *made, const char *name) {
        _cleanup_key_store_ struct key_store store = KEY_STORE_CLOSED;
        struct wla_error err = {0};
        const struct key_file file = sample_key_file(name);

        ck_assert_int_eq(key_store_open(made->path, &store, &err), 0);
        ck_assert_int_eq(key_store_write(&store, &file, false, &err), 0);
}

START_TEST(gives_an_envelope_for_the_tpm) {
        _cleanup_temporary_store_ struct temporary_store made = temporary_store_make();
        _cleanup_envelope_ struct envelope envelope = {.bytes.limit = ENVELOPE_SIZE_MAX};
        const struct key_file sample = sample_key_file("web-1");
        struct local_source *local = NULL;
        struct key_request request;
        struct wla_error err = {0};

        put_sample(&made, "web-1");
        request_for("web-1", &request);
        ck_assert_int_eq(local_source_new(made.path, &local, &err), 0);
        const struct key_source source = local_source_as_source(local);
        ck_assert_str_eq(source.ops->name, "local");
        ck_assert_int_eq(source.ops->fetch(source.self, &request, &envelope, &err), 0);

        ck_assert_int_eq(envelope.kind, ENVELOPE_TPM_BOUND);
        ck_assert_str_eq(envelope.binding_key, SAMPLE_FINGERPRINT);
        ck_assert_uint_eq(envelope.bytes.size, sizeof(sample.wrapped));
        ck_assert_mem_eq(envelope.bytes.data, sample.wrapped, sizeof(sample.wrapped));
        ck_assert_ptr_null(local_source_free(local));
}
END_TEST

START_TEST(a_missing_key_says_how_to_get_one) {
        _cleanup_temporary_store_ struct temporary_store made = temporary_store_make();
        _cleanup_envelope_ struct envelope envelope = {.bytes.limit = ENVELOPE_SIZE_MAX};
        struct local_source *local = NULL;
        struct key_request request;
        struct wla_error err = {0};
        char text[256];

        request_for("web-1", &request);
        ck_assert_int_eq(local_source_new(made.path, &local, &err), 0);
        const struct key_source source = local_source_as_source(local);
        ck_assert_int_eq(source.ops->fetch(source.self, &request, &envelope, &err), -1);
        (void)snprintf(text, sizeof(text), "no key named web-1 in %s/keys", made.path);
        ck_assert_int_eq(err.code, WLA_E_NOT_FOUND);
        ck_assert_str_eq(wla_error_text(&err), text);
        ck_assert_str_eq(err.hint,
                         "make one with 'wlagent key create NAME', or fetch one with 'wlagent key "
                         "import FILE'; 'wlagent key list' shows what is there");
        ck_assert_uint_eq(envelope.bytes.size, 0);

        /* The store may come after the daemon. */
        put_sample(&made, "web-1");
        ck_assert_int_eq(source.ops->fetch(source.self, &request, &envelope, &err), 0);
        ck_assert_ptr_null(local_source_free(local));
        ck_assert_ptr_null(local_source_free(NULL));
}
END_TEST

START_TEST(allocations_may_fail) {
        _cleanup_temporary_store_ struct temporary_store made = temporary_store_make();
        struct key_request request;

        put_sample(&made, "web-1");
        request_for("web-1", &request);
        for (size_t n = 1; fail_allocation_arm(n); n++) {
                _cleanup_envelope_ struct envelope envelope = {.bytes.limit = ENVELOPE_SIZE_MAX};
                struct local_source *local = NULL;
                struct wla_error err = {0};

                int outcome = local_source_new(made.path, &local, &err);
                if (outcome == 0) {
                        const struct key_source source = local_source_as_source(local);
                        outcome = source.ops->fetch(source.self, &request, &envelope, &err);
                }
                fail_allocation_disarm();
                ck_assert(outcome < 0 || !fail_allocation_hit());
                ck_assert(outcome == 0 || err.code == WLA_E_BUSY);
                (void)local_source_free(local);
        }
}
END_TEST

SUITE_MAIN("local", gives_an_envelope_for_the_tpm, a_missing_key_says_how_to_get_one,
           allocations_may_fail)
