/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "ahead_chain.h"

/* A decryption that is prepared while the TPM is at the one before it, and one that is not. */

/* Number 0 was opened by chain_restart(), again, and again. */
static void open_all(struct chain *chain) {
        TPM2_HANDLE local = chain->host.tpm->session.handle;
        TPM2_HANDLE intels = chain->host.tpm->host_session.handle;

        for (size_t i = 0; i < CHAIN; i++) {
                chain_opens(chain, i);
                for (size_t j = 0; j < CHAIN; j++)
                        ck_assert_int_eq(chain_is_under_way(chain, j), j == i + 1);
        }
        ck_assert_uint_eq(tpm_unbind_count(chain->host.tpm), 1 + CHAIN);
        ck_assert_uint_eq(chain->host.tpm->session.handle, local);
        ck_assert_uint_eq(chain->host.tpm->host_session.handle, intels);
}

START_TEST(the_next_is_sent_before_the_first_is_returned) {
        struct chain chain;

        chain_begin(&chain, false, 0);
        chain_restart(&chain, chain_no_faults);
        open_all(&chain);
        ck_assert(!host_capture_holds_part_of(&chain.host, KEY, strlen(KEY)));
        chain_end(&chain);
}
END_TEST

/* Whose secret is in each HMAC. */
START_TEST(keys_of_intel_secl_too) {
        struct chain chain;

        chain_begin(&chain, true, 0);
        chain_restart(&chain, chain_no_faults);
        open_all(&chain);
        ck_assert_uint_eq(host_wrong_authorisations(&chain.host), 0);
        ck_assert(!host_capture_holds_part_of(&chain.host, KEY, strlen(KEY)));
        chain_end(&chain);
}
END_TEST

/* And flushing waits until the TPM has answered. */
START_TEST(the_connection_goes_with_one_under_way) {
        struct chain chain;

        chain_begin(&chain, false, 0);
        for (int polite = 0; polite < 2; polite++) {
                chain_restart(&chain, chain_no_faults);
                chain_opens(&chain, 0);
                ck_assert(chain_is_under_way(&chain, 1));
                tpm_disconnect(chain.host.tpm, polite);
                ck_assert(!chain_is_under_way(&chain, 1));
                chain.last = 0;
                chain_opens(&chain, 1);
        }
        chain_restart(&chain, chain_no_faults);
        chain_opens(&chain, 0);
        chain_end(&chain); /* in tpm_free() */
}
END_TEST

static void touch(struct chain *chain, const char *name) {
        static const struct timespec times[] = {{.tv_sec = 1}, {.tv_sec = 1}};
        char path[128];

        (void)snprintf(path, sizeof(path), "%s/%s", chain->host.state, name);
        ck_assert_int_eq(utimensat(AT_FDCWD, path, times, 0), 0);
}

/* The first is opened, and nothing is under way behind it. */
static void stands_alone(struct chain *chain, const char *why) {
        tpm_while_at_work(chain->host.tpm, chain_prepare_next, chain);
        ck_assert_msg(chain_open(chain, 0) == 0, "%s: %s", why, wla_error_text(&chain->host.err));
        ck_assert_uint_eq(chain->prepared, 2);
        ck_assert_msg(!chain_is_under_way(chain, 1), "%s", why);
        chain_opens(chain, 2);
}

static void touch_and_prepare(void *arg) {
        touch(arg, "binding-key.json");
        chain_prepare_next(arg);
}

START_TEST(not_what_the_tpm_would_be_asked_for_before) {
        struct chain chain;

        chain_begin(&chain, false, 0);
        chain_restart(&chain, chain_no_faults);
        tpm_unbind_prepare(chain.host.tpm, bytes_of(&chain.wrapped[1]), NULL);
        ck_assert_int_eq(chain.host.tpm->ahead.state, RSA_AHEAD_NONE); /* it is not at work */

        chain.last = 2;
        chain.fingerprint = "another";
        stands_alone(&chain, "for another key");
        chain.fingerprint = NULL;

        chain_restart(&chain, chain_no_faults);
        chain.last = 2;
        chain.wrapped[1].size--;
        stands_alone(&chain, "too short");
        chain.wrapped[1].size++;

        chain_restart(&chain, chain_no_faults);
        chain.last = 2;
        chain.short_of_memory = true;
        stands_alone(&chain, "no memory");
        chain.short_of_memory = false;

        chain_restart(&chain, chain_no_faults);
        chain.last = 2;
        tpm_while_at_work(chain.host.tpm, touch_and_prepare, &chain);
        chain_opens(&chain, 0);
        ck_assert(!chain_is_under_way(&chain, 1));
        chain_opens(&chain, 1);
        chain_end(&chain);
}
END_TEST

START_TEST(not_behind_a_pcr_policy) {
        struct chain chain;

        chain_begin(&chain, false, 1u << 7);
        chain_restart(&chain, chain_no_faults);
        chain.last = 2;
        stands_alone(&chain, "policy");
        chain_end(&chain);
}
END_TEST

enum unready {
        NO_PLACE,
        NEW_SECRET,
        REFUSED,
        LOCKED_OUT,
        NOT_LOADED,
        OTHER_KEY,
        NO_SESSION,
        SHORT
};

static void make_unready(struct chain *chain, enum unready unready, struct tpm *was) {
        struct tpm *tpm = chain->host.tpm;

        *was = *tpm;
        switch (unready) {
        case NO_PLACE:
                tpm->host_keys[HOST_KEY_BINDING].path = NULL;
                break;
        case NEW_SECRET:
                tpm->host_keys[HOST_KEY_BINDING].secret_stat.st_ino++;
                break;
        case REFUSED:
                tpm->host_keys[HOST_KEY_BINDING].refused = true;
                break;
        case LOCKED_OUT:
                tpm->locked_out = true;
                break;
        case NOT_LOADED:
                tpm->host_key = ESYS_TR_NONE;
                break;
        case OTHER_KEY:
                tpm->host_key_usage = HOST_KEY_SIGNING;
                break;
        case NO_SESSION:
                tpm->host_session.handle = 0;
                break;
        case SHORT:
                chain->wrapped[1].size--;
                break;
        }
}

static enum unready unready_now;

static void prepare_unready(void *arg) {
        struct chain *chain = arg;
        struct tpm *tpm = chain->host.tpm;
        struct tpm was;

        if (chain->prepared != 1)
                return;
        make_unready(chain, unready_now, &was);
        chain_prepare_of_intel(chain);
        tpm->host_keys[HOST_KEY_BINDING].path = was.host_keys[HOST_KEY_BINDING].path;
        tpm->host_keys[HOST_KEY_BINDING].secret_stat = was.host_keys[HOST_KEY_BINDING].secret_stat;
        tpm->host_keys[HOST_KEY_BINDING].refused = false;
        tpm->locked_out = false;
        tpm->host_key = was.host_key;
        tpm->host_key_usage = was.host_key_usage;
        tpm->host_session.handle = was.host_session.handle;
        chain->wrapped[1].size = RSA_WRAPPED_SIZE;
}

START_TEST(not_with_a_key_of_intel_secl_that_is_not_ready) {
        struct chain chain;

        chain_begin(&chain, true, 0);
        for (unready_now = NO_PLACE; unready_now <= SHORT; unready_now++) {
                chain_restart(&chain, chain_no_faults);
                tpm_while_at_work(chain.host.tpm, prepare_unready, &chain);
                chain_opens(&chain, 0);
                ck_assert_uint_eq(chain.prepared, 2);
                ck_assert_msg(!chain_is_under_way(&chain, 1), "%d", unready_now);
                chain_opens(&chain, 1);
        }
        chain_end(&chain);
}
END_TEST

/* Behind one of the agent's own keys, in another session. */
START_TEST(both_kinds_one_behind_the_other) {
        struct chain chain;
        struct buf own = {0};

        chain_begin(&chain, true, 0);
        host_setup(&chain.host, 0, 0);
        host_wrap(&chain.host, KEY, &own);
        chain_restart(&chain, chain_no_faults);
        tpm_while_at_work(chain.host.tpm, NULL, NULL);
        host_expect(&chain.host, &own, KEY); /* with a new connection, as there is a key */
        chain_opens(&chain, 0);

        tpm_while_at_work(chain.host.tpm, chain_prepare_of_intel, &chain);
        host_expect(&chain.host, &own, KEY);
        ck_assert(chain_is_under_way(&chain, 1));
        chain_opens(&chain, 1);
        ck_assert_uint_eq(host_wrong_authorisations(&chain.host), 0);
        buf_clear(&own);
        chain_end(&chain);
}
END_TEST

void add_ahead_tests(TCase *tcase) {
        tcase_add_test(tcase, the_next_is_sent_before_the_first_is_returned);
        tcase_add_test(tcase, keys_of_intel_secl_too);
        tcase_add_test(tcase, the_connection_goes_with_one_under_way);
        tcase_add_test(tcase, not_what_the_tpm_would_be_asked_for_before);
        tcase_add_test(tcase, not_behind_a_pcr_policy);
        tcase_add_test(tcase, not_with_a_key_of_intel_secl_that_is_not_ready);
        tcase_add_test(tcase, both_kinds_one_behind_the_other);
}
