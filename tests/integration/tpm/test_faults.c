/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host.h"
#include "other_user.h"
#include "tests.h"

#define PCR(n) (1u << (n))

#define LIMIT_MSEC       20000 /* for an answer: long, as this machine may have other work */
#define LIMIT_SHORT_MSEC 3500  /* where none comes; and for those that do come behind it */

/* The last byte of an answer's size (Part 1, section 18): a larger one is waited for. */
#define SIZE_END 5

/* Command codes: TPM 2.0 Library, Part 2, section 6.5.2. */
#define FLUSH   "0x165"
#define LOAD    "0x157"
#define DECRYPT "0x159"
#define READ    "0x173"
#define SESSION "0x176"
#define LIST    "0x17a"

static const char *const no_faults[] = {NULL};

struct setting {
        struct host host;
        struct buf wrapped;
};

static void begin(struct setting *setting, uint32_t pcrs) {
        *setting = (struct setting){0};
        host_begin(&setting->host);
        host_setup(&setting->host, 0, pcrs);
        host_wrap(&setting->host, KEY, &setting->wrapped);
}

static void end(struct setting *setting) {
        buf_clear(&setting->wrapped);
        host_end(&setting->host);
}

/* Whether the agent waits for something that does not come. */
static bool is_waited_for(const char *fault) {
        static const char *const actions[] = {":hang", ":short=", ":size=20", ":size=40"};

        for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
                if (strstr(fault, actions[i]))
                        return true;
        return false;
}

static void behind(struct setting *setting, const char *fault) {
        host_behind_proxy(&setting->host, (const char *const[]){fault, NULL});
        setting->host.tpm->answer_limit_msec = is_waited_for(fault) ? LIMIT_SHORT_MSEC : LIMIT_MSEC;
}

START_TEST(faults_that_pass_are_waited_out) {
        static const char *const faults[] = {
                DECRYPT ":1:rc=0x922",   DECRYPT ":1-8:rc=0x922", DECRYPT ":1-8:rc=0x908",
                DECRYPT ":1-8:rc=0x90a", DECRYPT ":1-2:rc=0x920", DECRYPT ":1:rc=0x923",
                LOAD ":1-7:rc=0x922",    SESSION ":1-7:rc=0x90a", READ ":1-7:rc=0x922",
        };
        struct setting setting;

        begin(&setting, 0);
        for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
                behind(&setting, faults[i]);
                host_expect(&setting.host, &setting.wrapped, KEY);
        }
        end(&setting);
}
END_TEST

START_TEST(a_lost_context_is_made_again) {
        static const char *const faults[] = {
                /* the connection */
                DECRYPT ":1:drop", DECRYPT ":1:lose", LOAD ":1:drop", LOAD ":1:lose",
                SESSION ":1:drop", SESSION ":1:lose", READ ":1:drop", READ ":1:lose",
                /* a broken answer */
                DECRYPT ":1:truncate=5", DECRYPT ":1:truncate=30", LOAD ":1:truncate=10",
                DECRYPT ":1:size=9", DECRYPT ":1:size=70000", DECRYPT ":1:size=4096",
                DECRYPT ":1:size=20",
                /* the TPM forgot */
                DECRYPT ":1:rc=0x18b", DECRYPT ":1:rc=0x184", DECRYPT ":1:rc=0x910",
                DECRYPT ":1:rc=0x918", LOAD ":1:rc=0x18b", SESSION ":1:rc=0x910",
                DECRYPT ":1:flush",
                /* it was reset */
                DECRYPT ":1:rc=0x100", LOAD ":1:rc=0x100", READ ":1:rc=0x100", DECRYPT ":1:reset",
                LOAD ":1:reset", SESSION ":1:reset", READ ":1:reset",
                /* it is full */
                LOAD ":1:rc=0x902", SESSION ":1:rc=0x903", DECRYPT ":1:rc=0x904",
                SESSION ":1:rc=0x905", LOAD ":1:rc=0x906", SESSION ":1:rc=0x901"};
        struct setting setting;

        begin(&setting, 0);
        for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
                behind(&setting, faults[i]);
                if (host_try(&setting.host, &setting.wrapped, KEY) < 0)
                        ck_abort_msg("%s: %s", faults[i], wla_error_text(&setting.host.err));
        }
        end(&setting);
}
END_TEST

struct refusal {
        const char *fault;
        enum wla_code code;
        const char *text;
        unsigned asked; /* how often the TPM is asked to open the key */
};

/* Also after the refusal: the next request is served as if nothing had been. */
static void expect_refusals(const struct refusal *refusals, size_t count, uint32_t pcrs) {
        struct setting setting;

        begin(&setting, pcrs);
        for (size_t i = 0; i < count; i++) {
                behind(&setting, refusals[i].fault);
                if (host_try(&setting.host, &setting.wrapped, KEY) == 0)
                        ck_abort_msg("%s: opened", refusals[i].fault);
                ck_assert_msg(strstr(wla_error_text(&setting.host.err), refusals[i].text) != NULL,
                              "%s: '%s' lacks '%s'", refusals[i].fault,
                              wla_error_text(&setting.host.err), refusals[i].text);
                ck_assert_msg(setting.host.err.code == refusals[i].code, "%s: %s",
                              refusals[i].fault, wla_code_token(setting.host.err.code));
                ck_assert_msg(setting.host.err.hint != NULL, "%s: no hint", refusals[i].fault);
                ck_assert_msg(tpm_unbind_count(setting.host.tpm) == refusals[i].asked,
                              "%s: asked %ju times", refusals[i].fault,
                              (uintmax_t)tpm_unbind_count(setting.host.tpm));
        }

        host_behind_proxy(&setting.host, no_faults);
        host_expect(&setting.host, &setting.wrapped, KEY);
        end(&setting);
}

START_TEST(each_refusal_has_its_text) {
        static const struct refusal refusals[] = {
                {DECRYPT ":1-99:rc=0x922", WLA_E_UNAVAILABLE, "the TPM is busy (0x922)", 11},
                {DECRYPT ":1:rc=0x921", WLA_E_TPM,
                 "the TPM is locked out after 0 wrong authorisations", 1},
                {DECRYPT ":1:rc=0x98e", WLA_E_TPM, "refused the authorisation (0x98e)", 1},
                {DECRYPT ":1:rc=0x9a2", WLA_E_TPM, "refused the authorisation (0x9a2)", 1},
                {DECRYPT ":1:rc=0x99d", WLA_E_DENIED, "does not satisfy the policy of the key", 1},
                {DECRYPT ":1-99:rc=0x128", WLA_E_DENIED, "a PCR changed while the key", 4},
                {LOAD ":1-99:rc=0x902", WLA_E_UNAVAILABLE, "no memory for another key", 0},
                {SESSION ":1-99:rc=0x903", WLA_E_UNAVAILABLE, "no memory for another session", 0},
                {DECRYPT ":1-99:rc=0x18b", WLA_E_UNAVAILABLE, "does not know the key any more", 2},
                {READ ":1-99:rc=0x100", WLA_E_UNAVAILABLE, "was reset and has not been started", 0},
                {DECRYPT ":1:rc=0x101", WLA_E_INPUT, "not wrapped for this host, or damaged", 1},
                {DECRYPT ":1:rc=0x1c4", WLA_E_INPUT, "not wrapped for this host, or damaged", 1},
                {DECRYPT ":1:rc=0x1d5", WLA_E_INPUT, "not wrapped for this host, or damaged", 1},
                {"0:5-99:rc=0x101", WLA_E_TPM, "the TPM is in failure mode", 1},
                {READ ":1:rc=0x101", WLA_E_TPM, "the TPM is in failure mode", 0},
                {DECRYPT ":1:rc=0x130", WLA_E_TPM, "asks for a restart of the host", 1},
                {LOAD ":1:rc=0x2df", WLA_E_TPM, "made by another TPM, or this one was cleared", 0},
                {DECRYPT ":1:rc=0x143", WLA_E_TPM, "does not implement the command", 1},
                {READ ":1:rc=0x18b", WLA_E_TPM, "no storage key at 0x81000001 any more", 0},
                {DECRYPT ":1:rc=0xfff", WLA_E_TPM, "answered 0xfff", 1},
                {"0:1-99:drop", WLA_E_UNAVAILABLE, "Connection reset by peer", 0},
                {DECRYPT ":1-99:truncate=20", WLA_E_UNAVAILABLE, "Connection reset by peer", 2},
                {DECRYPT ":1-99:hang", WLA_E_UNAVAILABLE, "Connection timed out", 2},
                {DECRYPT ":1-99:short=30", WLA_E_UNAVAILABLE, "Connection timed out", 2},
                {DECRYPT ":1-99:size=9", WLA_E_UNAVAILABLE, "Protocol error", 2},
                {DECRYPT ":1:garble=-1", WLA_E_TPM, "was altered on its way", 1},
        };

        expect_refusals(refusals, sizeof(refusals) / sizeof(refusals[0]), 0);
}
END_TEST

START_TEST(a_pcr_that_changes_meanwhile) {
        static const struct refusal refusals[] = {
                {DECRYPT ":1-99:extend=8", WLA_E_DENIED, "a PCR changed while the key", 4},
        };
        struct setting setting;

        begin(&setting, PCR(7));
        behind(&setting, DECRYPT ":1-3:extend=8");
        host_expect(&setting.host, &setting.wrapped, KEY);
        ck_assert_uint_eq(tpm_unbind_count(setting.host.tpm), 4);

        /* The one that counts: it is the next comparison that refuses. */
        behind(&setting, DECRYPT ":1:extend=7");
        host_expect_failure(&setting.host, &setting.wrapped, WLA_E_DENIED, "PCR 7 changed");
        ck_assert_uint_eq(tpm_unbind_count(setting.host.tpm), 1);
        end(&setting);

        expect_refusals(refusals, 1, PCR(7));
}
END_TEST

/* A session of which the TPM has not heard that it has ended.  swtpm has room for three, and nobody who would flush them
 * when a connection ends. */
START_TEST(flushes_that_are_lost_fill_no_tpm) {
        static const char *const faults[] = {FLUSH ":1-4:drop", DECRYPT ":1-6:rc=0x98e", NULL};
        struct setting setting;

        begin(&setting, 0);
        host_behind_proxy(&setting.host, faults);
        for (int i = 0; i < 6; i++)
                host_expect_failure(&setting.host, &setting.wrapped, WLA_E_TPM,
                                    "refused the authorisation (0x98e)");
        host_expect(&setting.host, &setting.wrapped, KEY);
        end(&setting);
}
END_TEST

/* A session of which the agent does not hear stays; the fourth is refused, and room is to be made. */
static void fill_tpm(struct setting *setting) {
        for (int i = 0; i < 2; i++) {
                behind(setting, SESSION ":1-2:lose");
                host_expect_failure(&setting->host, &setting->wrapped, WLA_E_UNAVAILABLE,
                                    "Connection reset by peer");
        }
        behind(setting, LIST ":1-2:drop");
        host_expect_failure(&setting->host, &setting->wrapped, WLA_E_UNAVAILABLE,
                            "listing what is loaded in the TPM");
}

/* It is begun again with the connection that was lost meanwhile. */
START_TEST(room_is_made_whatever_is_lost_meanwhile) {
        static const char *const faults[] = {
                LIST ":1:lose",  LIST ":1:drop",  LIST ":2:lose",  LIST ":2:drop",
                FLUSH ":1:lose", FLUSH ":1:drop", FLUSH ":3:lose", FLUSH ":3:drop",
        };
        struct setting setting;

        begin(&setting, 0);
        for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
                fill_tpm(&setting);
                behind(&setting, faults[i]);
                if (host_try(&setting.host, &setting.wrapped, KEY) < 0)
                        ck_abort_msg("%s: %s", faults[i], wla_error_text(&setting.host.err));
        }
        end(&setting);
}
END_TEST

/* Between the list and its flush, of which one is a key's and one a session's.  The connection was lost once before, so that
 * nothing else may cost another one. */
START_TEST(what_has_gone_by_itself_makes_room_too) {
        static const char *const faults[] = {LIST ":1:drop", FLUSH ":1:flush", FLUSH ":2:rc=0x1cb",
                                             NULL};
        struct setting setting;

        begin(&setting, 0);
        other_user_fills_up(setting.host.swtpm.tcti);
        host_behind_proxy(&setting.host, faults);
        host_expect(&setting.host, &setting.wrapped, KEY);
        end(&setting);
}
END_TEST

/* With a resource manager a connection takes along what was left behind in it: a new one is made at once. */
START_TEST(a_lost_flush_ends_the_connection) {
        struct setting setting;
        struct wla_error err = {0};

        begin(&setting, 0);
        behind(&setting, FLUSH ":1:drop");
        host_expect(&setting.host, &setting.wrapped, KEY);
        ck_assert_int_eq(tpm_connect(setting.host.tpm, &err), 0);
        ck_assert_ptr_nonnull(setting.host.tpm->session.key);
        session_end(setting.host.tpm, &setting.host.tpm->session);
        ck_assert_int_ne(setting.host.tpm->binding, ESYS_TR_NONE);

        ck_assert_int_eq(tpm_connect(setting.host.tpm, &err), 0);
        ck_assert_int_eq(setting.host.tpm->binding, ESYS_TR_NONE);
        host_expect(&setting.host, &setting.wrapped, KEY);

        /* One that arrives ends no connection. */
        session_end(setting.host.tpm, &setting.host.tpm->session);
        ck_assert_int_eq(tpm_connect(setting.host.tpm, &err), 0);
        ck_assert_int_ne(setting.host.tpm->binding, ESYS_TR_NONE);
        end(&setting);
}
END_TEST

START_TEST(a_hanging_tpm_is_left_and_found_again) {
        struct setting setting;

        begin(&setting, 0);
        behind(&setting, DECRYPT ":1:hang");
        host_expect(&setting.host, &setting.wrapped, KEY);
        ck_assert_uint_eq(tpm_unbind_count(setting.host.tpm), 2);
        end(&setting);
}
END_TEST

/* Whatever byte of an answer is wrong: the right key or a clean error, and then business as usual. */
static void garble_each_byte(struct setting *setting, const char *command, int size, int step) {
        for (int at = 0; at < size; at += step) {
                char fault[64];

                (void)snprintf(fault, sizeof(fault), "%s:1:garble=%d", command, at);
                behind(setting, fault);
                if (at == SIZE_END)
                        setting->host.tpm->answer_limit_msec = LIMIT_SHORT_MSEC;
                (void)host_try(&setting->host, &setting->wrapped, KEY);
                /* That a context is lost may turn out only when it is used again. */
                if (host_try(&setting->host, &setting->wrapped, KEY) < 0 &&
                    host_try(&setting->host, &setting->wrapped, KEY) < 0)
                        ck_abort_msg("after %s: %s", fault, wla_error_text(&setting->host.err));
        }
}

START_TEST(no_garbled_answer_makes_a_wrong_key) {
        struct setting setting;

        begin(&setting, 0);
        garble_each_byte(&setting, DECRYPT, 120, 1);
        garble_each_byte(&setting, SESSION, 48, 5);
        garble_each_byte(&setting, LOAD, 60, 5);
        garble_each_byte(&setting, READ, 180, 11);
        end(&setting);
}
END_TEST

/* Part 2, section 6.6.3: every code of both formats that has a meaning, and some that have none. */
START_TEST(any_code_at_any_command_is_survived) {
        static const char *const commands[] = {DECRYPT, LOAD, SESSION, READ};
        static const struct {
                unsigned first;
                unsigned last;
        } ranges[] = {
                {0x100, 0x155}, {0x081, 0x0a7}, {0x1c0, 0x1e7}, {0x980, 0x9a7}, {0x900, 0x923}};
        struct setting setting;

        begin(&setting, 0);
        for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
                for (unsigned code = ranges[i].first; code <= ranges[i].last; code++) {
                        char fault[64];

                        (void)snprintf(fault, sizeof(fault), "%s:1:rc=0x%x", commands[code % 4],
                                       code);
                        behind(&setting, fault);
                        if (host_try(&setting.host, &setting.wrapped, KEY) < 0 &&
                            host_try(&setting.host, &setting.wrapped, KEY) < 0)
                                ck_abort_msg("after %s: %s", fault,
                                             wla_error_text(&setting.host.err));
                }
        end(&setting);
}
END_TEST

/* xorshift32: the schedules are the same in each run. */
static uint32_t next(uint32_t *seed) {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 17;
        *seed ^= *seed << 5;
        return *seed;
}

START_TEST(random_faults_end_in_a_key_or_an_error) {
        static const char *const actions[] = {
                "rc=0x922", "rc=0x921",   "rc=0x920", "rc=0x902",  "rc=0x18b",
                "rc=0x98e", "rc=0x128",   "rc=0x101", "drop",      "lose",
                "reset",    "truncate=9", "size=40",  "garble=14",
        };
        struct setting setting;
        uint32_t seed = 0x77616c67;

        begin(&setting, PCR(7));
        for (int round = 0; round < 60; round++) {
                char faults[3][64];

                for (size_t i = 0; i < 3; i++)
                        (void)snprintf(
                                faults[i], sizeof(faults[i]), "0:%u:%s", 1 + next(&seed) % 14,
                                actions[next(&seed) % (sizeof(actions) / sizeof(actions[0]))]);
                host_behind_proxy(&setting.host,
                                  (const char *const[]){faults[0], faults[1], faults[2], NULL});
                for (size_t i = 0; i < 3; i++)
                        if (is_waited_for(faults[i]))
                                setting.host.tpm->answer_limit_msec = LIMIT_SHORT_MSEC;
                for (int i = 0; i < 5; i++)
                        (void)host_try(&setting.host, &setting.wrapped, KEY);
                if (host_try(&setting.host, &setting.wrapped, KEY) < 0)
                        ck_abort_msg("after %s %s %s: %s", faults[0], faults[1], faults[2],
                                     wla_error_text(&setting.host.err));
        }
        end(&setting);
}
END_TEST

START_TEST(setup_survives_a_fault_at_any_command) {
        static const char *const actions[] = {"drop", "lose", "rc=0x922", "reset"};
        const struct tpm_setup_options options = {.handle = 0x81010010, .pcrs = PCR(7)};

        for (unsigned at = 1; at <= 22; at++) {
                struct setting setting = {0};
                struct host *host = &setting.host;
                char fault[64];
                bool created = false;

                host_begin(host);
                (void)snprintf(fault, sizeof(fault), "0:%u:%s", at, actions[at % 4]);
                behind(&setting, fault);
                if (tpm_setup(host->tpm, &options, &created, &host->err) < 0)
                        ck_abort_msg("%s: %s", fault, wla_error_text(&host->err));
                ck_assert(created);

                host_wrap(host, KEY, &setting.wrapped);
                host_expect(host, &setting.wrapped, KEY);
                end(&setting);
        }
}
END_TEST

void add_fault_tests(TCase *tcase) {
        tcase_add_test(tcase, faults_that_pass_are_waited_out);
        tcase_add_test(tcase, a_lost_context_is_made_again);
        tcase_add_test(tcase, each_refusal_has_its_text);
        tcase_add_test(tcase, a_pcr_that_changes_meanwhile);
        tcase_add_test(tcase, flushes_that_are_lost_fill_no_tpm);
        tcase_add_test(tcase, room_is_made_whatever_is_lost_meanwhile);
        tcase_add_test(tcase, what_has_gone_by_itself_makes_room_too);
        tcase_add_test(tcase, a_lost_flush_ends_the_connection);
        tcase_add_test(tcase, a_hanging_tpm_is_left_and_found_again);
}

/* One fault after the other, at one command after the other. */
void add_fault_sweep_tests(TCase *tcase) {
        tcase_add_test(tcase, no_garbled_answer_makes_a_wrong_key);
        tcase_add_test(tcase, any_code_at_any_command_is_survived);
        tcase_add_test(tcase, random_faults_end_in_a_key_or_an_error);
        tcase_add_test(tcase, setup_survives_a_fault_at_any_command);
}
