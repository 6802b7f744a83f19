/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "fail_allocation.h"
#include "host.h"
#include "intel_host.h"
#include "tests.h"
#include "tpm/rsa_decrypt.h"

/* A decryption that is prepared while the TPM is at the one before it (tpm/rsa_decrypt.h). */

#define CHAIN 6u

#define DECRYPT "0x159"

static const char *const no_faults[] = {NULL};

/* Keys that are opened one behind the other. */
struct chain {
        struct host host;
        bool of_intel;
        struct host_key key;
        struct buf wrapped[CHAIN];
        char texts[CHAIN][40];
        size_t prepared; /* the number of the next that at_work() prepares */
        size_t last;     /* the first that it does not */
        const char *fingerprint;
        bool short_of_memory;
        int limit_msec; /* 0: the usual */
};

/* What fails, from the step of the exchange with that number on, counted from 1; 0: nothing. */
static struct {
        unsigned send;
        unsigned open;
} fails;

TSS2_RC __real_session_exchange_send(struct session_exchange *exchange);
TSS2_RC __wrap_session_exchange_send(struct session_exchange *exchange);
TSS2_RC __real_session_exchange_open(const struct session_exchange *exchange,
                                     struct wla_secret *into);
TSS2_RC __wrap_session_exchange_open(const struct session_exchange *exchange,
                                     struct wla_secret *into);

TSS2_RC __wrap_session_exchange_send(struct session_exchange *exchange) {
        if (fails.send > 0 && --fails.send == 0)
                return TSS2_TCTI_RC_IO_ERROR;
        return __real_session_exchange_send(exchange);
}

TSS2_RC __wrap_session_exchange_open(const struct session_exchange *exchange,
                                     struct wla_secret *into) {
        if (fails.open > 0 && --fails.open == 0)
                return TSS2_ESYS_RC_MEMORY;
        return __real_session_exchange_open(exchange, into);
}

static void prepare_next(void *arg) {
        struct chain *chain = arg;

        if (chain->prepared >= chain->last)
                return;
        const struct buf *wrapped = &chain->wrapped[chain->prepared++];
        if (chain->short_of_memory)
                (void)fail_allocation_arm(1);
        if (chain->of_intel)
                tpm_host_unbind_prepare(chain->host.tpm, bytes_of(wrapped));
        else
                tpm_unbind_prepare(chain->host.tpm, bytes_of(wrapped), chain->fingerprint);
        fail_allocation_disarm();
}

/* Another kind of key than the one that the TPM is at. */
static void prepare_of_intel(void *arg) {
        struct chain *chain = arg;

        if (chain->prepared++ == 1)
                tpm_host_unbind_prepare(chain->host.tpm, bytes_of(&chain->wrapped[1]));
}

static int open_number(struct chain *chain, size_t i) {
        if (chain->of_intel)
                return intel_host_unbind(&chain->host, &chain->wrapped[i]);
        return host_try(&chain->host, &chain->wrapped[i], chain->texts[i]);
}

static void opens(struct chain *chain, size_t i) {
        ck_assert_msg(open_number(chain, i) == 0, "key %zu: %s", i,
                      wla_error_text(&chain->host.err));
}

static bool is_under_way(const struct chain *chain, size_t i) {
        return rsa_decrypt_under_way(chain->host.tpm, bytes_of(&chain->wrapped[i]));
}

/* From here, with a new connection behind the proxy, in which the first is opened with nothing prepared. */
static void restart(struct chain *chain, const char *const faults[]) {
        host_behind_proxy(&chain->host, faults);
        if (chain->limit_msec > 0)
                chain->host.tpm->answer_limit_msec = chain->limit_msec;
        if (chain->of_intel)
                intel_host_place_both(&chain->host);
        chain->prepared = chain->last = 0;
        opens(chain, 0);
        chain->prepared = 1;
        chain->last = CHAIN;
        tpm_while_at_work(chain->host.tpm, prepare_next, chain);
}

static void begin(struct chain *chain, bool of_intel, uint32_t pcrs) {
        *chain = (struct chain){.of_intel = of_intel};
        if (of_intel) {
                intel_host_begin(&chain->host);
                intel_host_read_key(&chain->host, HOST_KEY_BINDING, &chain->key);
        } else {
                host_begin(&chain->host);
                host_setup(&chain->host, 0, pcrs);
        }
        for (size_t i = 0; i < CHAIN; i++) {
                (void)snprintf(chain->texts[i], sizeof(chain->texts[i]), "%s%zu", KEY, i);
                if (of_intel)
                        intel_host_wrap(&chain->host, &chain->key, &chain->wrapped[i]);
                else
                        host_wrap(&chain->host, chain->texts[i], &chain->wrapped[i]);
        }
}

static void end(struct chain *chain) {
        for (size_t i = 0; i < CHAIN; i++)
                buf_clear(&chain->wrapped[i]);
        host_end(&chain->host);
}

/* Number 0 was opened by restart(), again, and again. */
static void open_all(struct chain *chain) {
        TPM2_HANDLE local = chain->host.tpm->session.handle;
        TPM2_HANDLE intels = chain->host.tpm->host_session.handle;

        for (size_t i = 0; i < CHAIN; i++) {
                opens(chain, i);
                for (size_t j = 0; j < CHAIN; j++)
                        ck_assert_int_eq(is_under_way(chain, j), j == i + 1);
        }
        ck_assert_uint_eq(tpm_unbind_count(chain->host.tpm), 1 + CHAIN);
        ck_assert_uint_eq(chain->host.tpm->session.handle, local);
        ck_assert_uint_eq(chain->host.tpm->host_session.handle, intels);
}

START_TEST(the_next_is_sent_before_the_first_is_returned) {
        struct chain chain;

        begin(&chain, false, 0);
        restart(&chain, no_faults);
        open_all(&chain);
        ck_assert(!host_capture_holds_part_of(&chain.host, KEY, strlen(KEY)));
        end(&chain);
}
END_TEST

/* Whose secret is in each HMAC. */
START_TEST(keys_of_intel_secl_too) {
        struct chain chain;

        begin(&chain, true, 0);
        restart(&chain, no_faults);
        open_all(&chain);
        ck_assert_uint_eq(host_wrong_authorisations(&chain.host), 0);
        ck_assert(!host_capture_holds_part_of(&chain.host, KEY, strlen(KEY)));
        end(&chain);
}
END_TEST

/* Whatever becomes of the one with the fault: it is opened or refused, the other is opened, and so is a third.  A reset
 * is the last, because a TPM counts one that it was not told of as a wrong authorisation. */
static void survive(const char *const faults[], size_t count, bool of_the_first) {
        struct chain chain;

        begin(&chain, true, 0);
        for (size_t i = 0; i < count; i++) {
                restart(&chain, (const char *const[]){faults[i], NULL});
                chain.last = 2;
                int first = open_number(&chain, 0);
                ck_assert_msg(of_the_first || (first == 0 && is_under_way(&chain, 1)), "%s: %s",
                              faults[i], wla_error_text(&chain.host.err));
                int second = open_number(&chain, 1);
                ck_assert_msg(second == 0 || !of_the_first, "%s: %s", faults[i],
                              wla_error_text(&chain.host.err));
                ck_assert(!is_under_way(&chain, 1));
                opens(&chain, 2);
                if (i + 2 == count)
                        ck_assert_uint_eq(host_wrong_authorisations(&chain.host), 0);
        }
        end(&chain);
}

START_TEST(a_fault_of_the_first) {
        static const char *const faults[] = {
                DECRYPT ":2:rc=0x922",    DECRYPT ":2:claim=0x101", DECRYPT ":2:lose",
                DECRYPT ":2:truncate=30", DECRYPT ":2:garble=-1",   DECRYPT ":2:flush",
                DECRYPT ":2:reset",
        };

        survive(faults, sizeof(faults) / sizeof(faults[0]), true);
}
END_TEST

START_TEST(a_fault_of_the_one_behind) {
        static const char *const faults[] = {
                DECRYPT ":3:rc=0x922",    DECRYPT ":3:claim=0x101", DECRYPT ":3:lose",
                DECRYPT ":3:truncate=30", DECRYPT ":3:garble=-1",   DECRYPT ":3:flush",
                DECRYPT ":3:reset",
        };

        survive(faults, sizeof(faults) / sizeof(faults[0]), false);
}
END_TEST

START_TEST(a_tpm_that_hangs_at_the_one_behind) {
        struct chain chain;

        begin(&chain, false, 0);
        chain.limit_msec = 3000;
        restart(&chain, (const char *const[]){DECRYPT ":3:hang", NULL});
        chain.last = 2;
        opens(&chain, 0);
        ck_assert(is_under_way(&chain, 1));
        opens(&chain, 1);
        opens(&chain, 2);
        end(&chain);
}
END_TEST

/* It is not asked again, and the secret is known to be refused. */
START_TEST(a_refused_secret_of_the_one_behind) {
        struct chain chain;

        begin(&chain, true, 0);
        restart(&chain, (const char *const[]){DECRYPT ":3-9:rc=0x98e", NULL});
        opens(&chain, 0);
        ck_assert(is_under_way(&chain, 1));
        host_is_refused(&chain.host, open_number(&chain, 1), WLA_E_TPM,
                        "the TPM refuses the secret");
        uint64_t asked = tpm_unbind_count(chain.host.tpm);
        host_is_refused(&chain.host, open_number(&chain, 2), WLA_E_TPM,
                        "the TPM refuses the secret");
        ck_assert_uint_eq(tpm_unbind_count(chain.host.tpm), asked);
        end(&chain);
}
END_TEST

/* Its caller has no time left: the TPM's answer is taken, and goes nowhere; with it a session that could not be flushed. */
START_TEST(nobody_waits_for_the_one_behind) {
        static const char *const faults[] = {DECRYPT ":99:drop", DECRYPT ":3:rc=0x922",
                                             DECRYPT ":3:lose", DECRYPT ":3:garble=-1"};
        struct chain chain;

        begin(&chain, false, 0);
        for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
                struct wla_secret *opened = NULL;
                struct deadline passed;

                restart(&chain, (const char *const[]){faults[i], NULL});
                TPM2_HANDLE session = chain.host.tpm->session.handle;
                chain.last = 2;
                opens(&chain, 0);
                ck_assert(is_under_way(&chain, 1));
                deadline_init(&passed, 1);
                ck_assert_int_eq(tpm_unbind(chain.host.tpm, bytes_of(&chain.wrapped[1]), NULL,
                                            &passed, &opened, &chain.host.err),
                                 -1);
                ck_assert_int_eq(chain.host.err.code, WLA_E_TIMEOUT);
                ck_assert_ptr_null(opened);
                ck_assert(!is_under_way(&chain, 1));
                ck_assert_uint_eq(chain.host.tpm->session.handle, i == 0 ? session : 0);
                ck_assert_int_ne(chain.host.tpm->binding, ESYS_TR_NONE);
                ck_assert_int_eq(tpm_connect(chain.host.tpm, &chain.host.err), 0);
                ck_assert_int_eq(chain.host.tpm->binding == ESYS_TR_NONE, i == 2); /* lost */
                opens(&chain, 2);
        }
        end(&chain);
}
END_TEST

START_TEST(nobody_hears_that_the_secret_is_refused) {
        struct chain chain;
        struct wla_secret *opened = NULL;
        struct deadline passed;

        begin(&chain, true, 0);
        restart(&chain, (const char *const[]){DECRYPT ":3:rc=0x98e", NULL});
        opens(&chain, 0);
        ck_assert(is_under_way(&chain, 1));
        deadline_init(&passed, 1);
        ck_assert_int_eq(tpm_host_unbind(chain.host.tpm, bytes_of(&chain.wrapped[1]), &passed,
                                         &opened, &chain.host.err),
                         -1);
        ck_assert_int_eq(chain.host.err.code, WLA_E_TIMEOUT);
        host_is_refused(&chain.host, open_number(&chain, 2), WLA_E_TPM,
                        "the TPM refuses the secret");
        end(&chain);
}
END_TEST

START_TEST(the_first_cannot_be_decrypted) {
        struct chain chain;

        begin(&chain, true, 0);
        restart(&chain, no_faults);
        fails.open = 1;
        ck_assert_int_eq(open_number(&chain, 0), -1);
        ck_assert_int_eq(chain.host.err.code, WLA_E_BUSY);
        ck_assert_uint_eq(fails.open, 0);
        for (size_t i = 0; i < CHAIN; i++)
                ck_assert(!is_under_way(&chain, i));
        opens(&chain, 1);
        opens(&chain, 2);
        ck_assert_uint_eq(host_wrong_authorisations(&chain.host), 0);
        end(&chain);
}
END_TEST

/* What the TPM says of the one behind is not lost with the first, of whichever kind that is: it is not asked again. */
static void refused_behind_a_failure(struct chain *chain, const struct buf *own, const char *code) {
        char fault[32];

        (void)snprintf(fault, sizeof(fault), DECRYPT ":%u:rc=%s", own ? 5 : 3, code);
        restart(chain, (const char *const[]){fault, NULL});
        if (own) {
                tpm_while_at_work(chain->host.tpm, NULL, NULL);
                host_expect(&chain->host, own, KEY); /* with a new connection, as there is a key */
                opens(chain, 0);
                tpm_while_at_work(chain->host.tpm, prepare_of_intel, chain);
        }
        fails.open = 1;
        ck_assert_int_eq(own ? host_try(&chain->host, own, KEY) : open_number(chain, 0), -1);
        ck_assert_int_eq(chain->host.err.code, WLA_E_BUSY);
        ck_assert_uint_eq(fails.open, 0);
        ck_assert(!is_under_way(chain, 1));
}

START_TEST(the_one_behind_is_refused_and_the_first_cannot_be_decrypted) {
        struct chain chain;
        struct buf own = {0};
        const struct buf *const firsts[] = {NULL, &own};

        begin(&chain, true, 0);
        host_setup(&chain.host, 0, 0);
        host_wrap(&chain.host, KEY, &own);
        for (int i = 0; i < 2; i++) {
                refused_behind_a_failure(&chain, firsts[i], "0x98e");
                uint64_t asked = tpm_unbind_count(chain.host.tpm);
                host_is_refused(&chain.host, open_number(&chain, 1), WLA_E_TPM,
                                "the TPM refuses the secret");
                ck_assert_uint_eq(tpm_unbind_count(chain.host.tpm), asked);

                refused_behind_a_failure(&chain, firsts[i], "0x921");
                ck_assert(chain.host.tpm->locked_out);
                opens(&chain, 1);
                ck_assert(!chain.host.tpm->locked_out); /* the TPM itself is not */
        }
        buf_clear(&own);
        end(&chain);
}
END_TEST

START_TEST(the_one_behind_cannot_be_sent) {
        struct chain chain;

        begin(&chain, true, 0);
        restart(&chain, no_faults);
        fails.send = 2;
        opens(&chain, 0);
        ck_assert_uint_eq(fails.send, 0);
        ck_assert(is_under_way(&chain, 1));
        opens(&chain, 1);

        restart(&chain, no_faults);
        fails.send = 2;
        opens(&chain, 0);
        ck_assert_uint_eq(rsa_decrypt_end(chain.host.tpm, bytes_of(&chain.wrapped[1])),
                          TSS2_TCTI_RC_IO_ERROR);
        ck_assert_uint_eq(chain.host.tpm->host_session.handle, 0);
        opens(&chain, 2);
        end(&chain);
}
END_TEST

/* And flushing waits until the TPM has answered. */
START_TEST(the_connection_goes_with_one_under_way) {
        struct chain chain;

        begin(&chain, false, 0);
        for (int polite = 0; polite < 2; polite++) {
                restart(&chain, no_faults);
                opens(&chain, 0);
                ck_assert(is_under_way(&chain, 1));
                tpm_disconnect(chain.host.tpm, polite);
                ck_assert(!is_under_way(&chain, 1));
                chain.last = 0;
                opens(&chain, 1);
        }
        restart(&chain, no_faults);
        opens(&chain, 0);
        end(&chain); /* in tpm_free() */
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
        tpm_while_at_work(chain->host.tpm, prepare_next, chain);
        ck_assert_msg(open_number(chain, 0) == 0, "%s: %s", why, wla_error_text(&chain->host.err));
        ck_assert_uint_eq(chain->prepared, 2);
        ck_assert_msg(!is_under_way(chain, 1), "%s", why);
        opens(chain, 2);
}

static void touch_and_prepare(void *arg) {
        touch(arg, "binding-key.json");
        prepare_next(arg);
}

START_TEST(not_what_the_tpm_would_be_asked_for_before) {
        struct chain chain;

        begin(&chain, false, 0);
        restart(&chain, no_faults);
        tpm_unbind_prepare(chain.host.tpm, bytes_of(&chain.wrapped[1]), NULL);
        ck_assert_int_eq(chain.host.tpm->ahead.state, RSA_AHEAD_NONE); /* it is not at work */

        chain.last = 2;
        chain.fingerprint = "another";
        stands_alone(&chain, "for another key");
        chain.fingerprint = NULL;

        restart(&chain, no_faults);
        chain.last = 2;
        chain.wrapped[1].size--;
        stands_alone(&chain, "too short");
        chain.wrapped[1].size++;

        restart(&chain, no_faults);
        chain.last = 2;
        chain.short_of_memory = true;
        stands_alone(&chain, "no memory");
        chain.short_of_memory = false;

        restart(&chain, no_faults);
        chain.last = 2;
        tpm_while_at_work(chain.host.tpm, touch_and_prepare, &chain);
        opens(&chain, 0);
        ck_assert(!is_under_way(&chain, 1));
        opens(&chain, 1);
        end(&chain);
}
END_TEST

START_TEST(not_behind_a_pcr_policy) {
        struct chain chain;

        begin(&chain, false, 1u << 7);
        restart(&chain, no_faults);
        chain.last = 2;
        stands_alone(&chain, "policy");
        end(&chain);
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
        prepare_of_intel(chain);
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

        begin(&chain, true, 0);
        for (unready_now = NO_PLACE; unready_now <= SHORT; unready_now++) {
                restart(&chain, no_faults);
                tpm_while_at_work(chain.host.tpm, prepare_unready, &chain);
                opens(&chain, 0);
                ck_assert_uint_eq(chain.prepared, 2);
                ck_assert_msg(!is_under_way(&chain, 1), "%d", unready_now);
                opens(&chain, 1);
        }
        end(&chain);
}
END_TEST

/* Behind one of the agent's own keys, in another session. */
START_TEST(both_kinds_one_behind_the_other) {
        struct chain chain;
        struct buf own = {0};

        begin(&chain, true, 0);
        host_setup(&chain.host, 0, 0);
        host_wrap(&chain.host, KEY, &own);
        restart(&chain, no_faults);
        tpm_while_at_work(chain.host.tpm, NULL, NULL);
        host_expect(&chain.host, &own, KEY); /* with a new connection, as there is a key */
        opens(&chain, 0);

        tpm_while_at_work(chain.host.tpm, prepare_of_intel, &chain);
        host_expect(&chain.host, &own, KEY);
        ck_assert(is_under_way(&chain, 1));
        opens(&chain, 1);
        ck_assert_uint_eq(host_wrong_authorisations(&chain.host), 0);
        buf_clear(&own);
        end(&chain);
}
END_TEST

void add_ahead_tests(TCase *tcase) {
        tcase_add_test(tcase, the_next_is_sent_before_the_first_is_returned);
        tcase_add_test(tcase, keys_of_intel_secl_too);
        tcase_add_test(tcase, a_fault_of_the_first);
        tcase_add_test(tcase, a_fault_of_the_one_behind);
        tcase_add_test(tcase, a_tpm_that_hangs_at_the_one_behind);
        tcase_add_test(tcase, a_refused_secret_of_the_one_behind);
        tcase_add_test(tcase, nobody_waits_for_the_one_behind);
        tcase_add_test(tcase, nobody_hears_that_the_secret_is_refused);
        tcase_add_test(tcase, the_first_cannot_be_decrypted);
        tcase_add_test(tcase, the_one_behind_is_refused_and_the_first_cannot_be_decrypted);
        tcase_add_test(tcase, the_one_behind_cannot_be_sent);
        tcase_add_test(tcase, the_connection_goes_with_one_under_way);
        tcase_add_test(tcase, not_what_the_tpm_would_be_asked_for_before);
        tcase_add_test(tcase, not_behind_a_pcr_policy);
        tcase_add_test(tcase, not_with_a_key_of_intel_secl_that_is_not_ready);
        tcase_add_test(tcase, both_kinds_one_behind_the_other);
}
