/* SPDX-License-Identifier: Apache-2.0 */
#include <openssl/crypto.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "cli/doctor.h"
#include "cli/pcr_option.h"
#include "cli/random_key.h"
#include "tpm/tpm.h"

#define UNBIND_USEC (UINT64_C(20) * USEC_PER_SEC)

static const char remedy_bank[] = "allocate PCRs in the SHA-256 bank (firmware setup, or "
                                  "'tpm2_pcrallocate sha256:all' and a reboot)";
static const char remedy_lockout[] = "wait for it to end, or clear it with 'tpm2_dictionarylockout "
                                     "--clear-lockout'; find out who guesses passwords";
static const char remedy_wrong[] = "run 'wlagent setup --replace', and have keys wrapped again";

static void tpm_freep(struct tpm **tpm) {
        *tpm = tpm_free(*tpm);
}

static bool check_facts(struct doctor *doctor, struct tpm *tpm) {
        struct wla_error err = {0};
        struct tpm_facts facts;

        if (tpm_facts(tpm, &facts, &err) < 0) {
                doctor_report_error(doctor, FINDING_FAILURE, "tpm", &err);
                return false;
        }

        doctor_report(doctor, FINDING_OK, "tpm", NULL, "%s answers: %s %s, firmware %08x.%08x",
                      doctor->config->tpm.device, facts.manufacturer, facts.vendor,
                      facts.firmware[0], facts.firmware[1]);

        if (facts.sha256_bank)
                doctor_report(doctor, FINDING_OK, "tpm-sha256-bank", NULL,
                              "the TPM has PCRs in the SHA-256 bank");
        else
                doctor_report(doctor, FINDING_FAILURE, "tpm-sha256-bank", remedy_bank,
                              "the TPM has no PCRs in the SHA-256 bank");

        if (facts.in_lockout)
                doctor_report(doctor, FINDING_WARNING, "tpm-lockout", remedy_lockout,
                              "the TPM is in dictionary-attack lockout after %u failures; it "
                              "forgives one in %u s",
                              facts.lockout_counter, facts.lockout_recovery_sec);
        else
                doctor_report(doctor, FINDING_OK, "tpm-lockout", NULL,
                              "the TPM is not in dictionary-attack lockout (%u failures counted)",
                              facts.lockout_counter);
        return true;
}

static bool check_info(struct doctor *doctor, struct binding_key_info *ret) {
        struct wla_error err = {0};
        char pcrs[PCR_OPTION_TEXT_MAX];

        if (!doctor_needs_store(doctor)) {
                doctor_report(doctor, FINDING_OK, "binding-key", NULL,
                              "there is none for a key store of this host, and keys of Intel "
                              "SecL's broker need none");
                return false;
        }
        if (binding_key_info_read(doctor->config->agent.state_directory, ret, &err) < 0) {
                doctor_report_error(doctor, FINDING_FAILURE, "binding-key", &err);
                return false;
        }

        pcr_option_format(ret->pcrs, pcrs);
        doctor_report(doctor, FINDING_OK, "binding-key", NULL, "%.16s..., bound to %s%s",
                      ret->fingerprint, ret->pcrs != 0 ? "PCRs " : "no PCRs", pcrs);
        return true;
}

/* Wraps a value to the PEM as an owner would, and has the TPM open it. */
static int unbind_own_value(struct tpm *tpm, const struct binding_key_info *host,
                            struct wla_error *err) {
        _cleanup_secret_ struct wla_secret *value = NULL;
        _cleanup_secret_ struct wla_secret *opened = NULL;
        _cleanup_buf_ struct buf wrapped = BUF_WITH_LIMIT(RSA_WRAPPED_SIZE);
        struct deadline deadline;

        if (random_key_new(&value, err) < 0 ||
            rsa_wrap(host->pem, strlen(host->pem), value, &wrapped, err) < 0)
                return -1;

        const struct wla_bytes bytes = {.data = wrapped.data, .size = wrapped.size};
        deadline_init(&deadline, clock_now_usec() + UNBIND_USEC);
        if (tpm_unbind(tpm, bytes, host->fingerprint, &deadline, &opened, err) < 0)
                return -1;

        const struct wla_bytes in = wla_secret_view(value);
        const struct wla_bytes out = wla_secret_view(opened);
        if (in.size != out.size || CRYPTO_memcmp(in.data, out.data, in.size) != 0)
                return wla_fail_hint(err, WLA_E_TPM, remedy_wrong,
                                     "the TPM opened a value to something else than was wrapped");
        return 0;
}

static void check_use(struct doctor *doctor, struct tpm *tpm, const struct binding_key_info *host) {
        struct wla_error err = {0};

        if (unbind_own_value(tpm, host, &err) == 0) {
                doctor_report(doctor, FINDING_OK, "unbind", NULL,
                              "the TPM opens what is wrapped to the binding key%s",
                              host->pcrs != 0 ? ", and its PCRs are as they were at setup" : "");
                return;
        }

        (void)wla_wrap(&err, "opening a value of our own");
        doctor_report_error(doctor, FINDING_FAILURE, "unbind", &err);
}

void doctor_check_tpm(struct doctor *doctor) {
        __attribute__((cleanup(tpm_freep))) struct tpm *tpm = NULL;
        const struct config *config = doctor->config;
        struct binding_key_info host;
        struct wla_error err = {0};

        if (tpm_new(config->tpm.device, config->agent.state_directory, &tpm, &err) < 0) {
                doctor_report_error(doctor, FINDING_FAILURE, "tpm", &err);
                return;
        }

        bool answers = check_facts(doctor, tpm);
        if (!check_info(doctor, &host) || !answers)
                return;

        if (wla_secret_heap_init(true, &err) < 0) {
                doctor_report_error(doctor, FINDING_FAILURE, "unbind", &err);
                return;
        }
        check_use(doctor, tpm, &host);
}
