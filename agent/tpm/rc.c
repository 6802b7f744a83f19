/* SPDX-License-Identifier: Apache-2.0 */
#include "tpm/rc.h"

#include <stdlib.h>
#include <string.h>
#include <tss2/tss2_rc.h>

#define FORMAT_ONE_ERROR     0x3fu
#define FORMAT_ONE_PARAMETER 0x40u

/* Tss2_RC_Decode() of tpm2-tss before 4.0 reads past its table for the highest layers. */
#define LAYER_DECODE_MAX 12u

struct rc_meaning {
        TSS2_RC rc;
        enum wla_code code;
        enum tpm_remedy remedy;
        const char *text;
        const char *hint;
};

static const char hint_busy[] = "another user may hold the TPM; try again in a few seconds";
static const char hint_restart[] =
        "restart the host; if that does not help, the TPM has to be replaced";
static const char hint_lost[] =
        "look for TPM messages in the kernel log; the agent connects again by itself";
static const char hint_room[] =
        "use device:/dev/tpmrm0, or flush what others left with 'tpm2_flushcontext -t -l -s'";
static const char hint_firmware[] = "enable the TPM and its owner hierarchy in the firmware setup";
static const char hint_rewrap[] = "have the owner wrap the key again with this host's "
                                  "binding-key.pem";
static const char hint_other_tpm[] =
        "run 'wlagent setup --replace' and have owners wrap their keys again";

static const struct rc_meaning meanings[] = {
        {TPM2_RC_RETRY, WLA_E_UNAVAILABLE, TPM_WAIT, "the TPM is busy", hint_busy},
        {TPM2_RC_YIELDED, WLA_E_UNAVAILABLE, TPM_WAIT, "the TPM interrupted the command",
         hint_busy},
        {TPM2_RC_TESTING, WLA_E_UNAVAILABLE, TPM_WAIT, "the TPM is testing itself", hint_busy},
        {TPM2_RC_CANCELED, WLA_E_UNAVAILABLE, TPM_WAIT, "the command was cancelled", hint_busy},
        {TPM2_RC_NV_RATE, WLA_E_UNAVAILABLE, TPM_WAIT,
         "the TPM limits writes to its permanent memory", hint_busy},
        {TPM2_RC_NV_UNAVAILABLE, WLA_E_UNAVAILABLE, TPM_WAIT,
         "the permanent memory of the TPM is not available now", hint_busy},
        {TPM2_RC_LOCKOUT, WLA_E_TPM, TPM_GIVE_UP,
         "the TPM is locked out after too many wrong authorisations",
         "wait until the lockout has passed, or end it with 'tpm2_dictionarylockout -c'"},
        {TPM2_RC_AUTH_FAIL, WLA_E_TPM, TPM_DROP, "the TPM refused the authorisation",
         "not tried again, because wrong attempts lock a TPM; see 'wlagent doctor'"},
        {TPM2_RC_BAD_AUTH, WLA_E_TPM, TPM_DROP, "the TPM refused the authorisation",
         "not tried again; see 'wlagent doctor'"},
        {TPM2_RC_POLICY_FAIL, WLA_E_DENIED, TPM_GIVE_UP,
         "the state of this host does not satisfy the policy of the key",
         "after a firmware or kernel update, run 'wlagent setup --replace'"},
        {TPM2_RC_PCR_CHANGED, WLA_E_DENIED, TPM_RESTART_POLICY,
         "a PCR changed while the key was being opened", "try again when the host has settled"},
        {TPM2_RC_OBJECT_MEMORY, WLA_E_UNAVAILABLE, TPM_MAKE_ROOM,
         "the TPM has no memory for another key", hint_room},
        {TPM2_RC_SESSION_MEMORY, WLA_E_UNAVAILABLE, TPM_MAKE_ROOM,
         "the TPM has no memory for another session", hint_room},
        {TPM2_RC_MEMORY, WLA_E_UNAVAILABLE, TPM_MAKE_ROOM, "the TPM is out of memory", hint_room},
        {TPM2_RC_SESSION_HANDLES, WLA_E_UNAVAILABLE, TPM_MAKE_ROOM,
         "the TPM has no handle for another session", hint_room},
        {TPM2_RC_OBJECT_HANDLES, WLA_E_UNAVAILABLE, TPM_MAKE_ROOM,
         "the TPM has no handle for another key", hint_room},
        {TPM2_RC_CONTEXT_GAP, WLA_E_UNAVAILABLE, TPM_MAKE_ROOM,
         "the TPM's session contexts have grown too far apart", hint_room},
        {TPM2_RC_HANDLE, WLA_E_UNAVAILABLE, TPM_RECONNECT, "the TPM does not know the key any more",
         hint_lost},
        {TPM2_RC_REFERENCE_H0, WLA_E_UNAVAILABLE, TPM_RECONNECT,
         "the TPM does not know the key any more", hint_lost},
        {TPM2_RC_REFERENCE_H1, WLA_E_UNAVAILABLE, TPM_RECONNECT,
         "the TPM does not know the key or session any more", hint_lost},
        {TPM2_RC_REFERENCE_S0, WLA_E_UNAVAILABLE, TPM_RECONNECT,
         "the TPM does not know the session any more", hint_lost},
        {TPM2_RC_REFERENCE_S1, WLA_E_UNAVAILABLE, TPM_RECONNECT,
         "the TPM does not know the session any more", hint_lost},
        {TPM2_RC_INITIALIZE, WLA_E_UNAVAILABLE, TPM_START_UP,
         "the TPM was reset and has not been started", hint_lost},
        {TPM2_RC_FAILURE, WLA_E_TPM, TPM_DROP, "the TPM is in failure mode", hint_restart},
        {TPM2_RC_REBOOT, WLA_E_TPM, TPM_DROP, "the TPM asks for a restart of the host",
         hint_restart},
        {TPM2_RC_NEEDS_TEST, WLA_E_UNAVAILABLE, TPM_WAIT, "the TPM has to test itself first",
         hint_busy},
        {TPM2_RC_UPGRADE, WLA_E_UNAVAILABLE, TPM_DROP, "the TPM is in firmware upgrade mode",
         "finish the upgrade of its firmware"},
        {TPM2_RC_DISABLED, WLA_E_TPM, TPM_GIVE_UP, "the command is disabled in this TPM",
         hint_firmware},
        {TPM2_RC_HIERARCHY, WLA_E_TPM, TPM_GIVE_UP, "the owner hierarchy of this TPM is disabled",
         hint_firmware},
        {TPM2_RC_COMMAND_CODE, WLA_E_TPM, TPM_GIVE_UP, "this TPM does not implement the command",
         "the agent needs a TPM 2.0 with RSA-2048 and AES-128-CFB"},
        {TPM2_RC_INTEGRITY, WLA_E_TPM, TPM_GIVE_UP,
         "the binding key was made by another TPM, or this one was cleared", hint_other_tpm},
        {TPM2_RC_BINDING, WLA_E_TPM, TPM_GIVE_UP,
         "the two halves of the binding key do not belong together", hint_other_tpm},
        {TPM2_RC_SENSITIVE, WLA_E_TPM, TPM_GIVE_UP, "the binding key is damaged", hint_other_tpm},
        {TPM2_RC_NV_SPACE, WLA_E_TPM, TPM_GIVE_UP, "the TPM has no room for another persistent key",
         "list them with 'tpm2_getcap handles-persistent', or keep the key as blobs "
         "(no BindingKeyHandle=)"},
        {TPM2_RC_NV_DEFINED, WLA_E_TPM, TPM_GIVE_UP,
         "the persistent handle is taken by another key",
         "choose another with BindingKeyHandle=; see 'tpm2_getcap handles-persistent'"},
        {TPM2_RC_VALUE, WLA_E_INPUT, TPM_SUSPECT_INPUT,
         "the TPM cannot open it: not wrapped for this host, or damaged", hint_rewrap},
        {TPM2_RC_SIZE, WLA_E_INPUT, TPM_SUSPECT_INPUT,
         "the TPM cannot open it: not wrapped for this host, or damaged", hint_rewrap},
};

/* What the software stack itself reports, whichever of its layers did. */
static const struct rc_meaning stack_meanings[] = {
        {TSS2_BASE_RC_IO_ERROR, WLA_E_UNAVAILABLE, TPM_RECONNECT, "the connection to the TPM broke",
         hint_lost},
        /* What follows on a broken connection that was not looked at, such as a flush. */
        {TSS2_BASE_RC_BAD_SEQUENCE, WLA_E_UNAVAILABLE, TPM_RECONNECT,
         "the connection to the TPM broke", hint_lost},
        {TSS2_BASE_RC_NO_CONNECTION, WLA_E_UNAVAILABLE, TPM_RECONNECT, "no connection to the TPM",
         "check Device= in the section [TPM] of wlagent.conf, and that the device exists"},
        {TSS2_BASE_RC_MALFORMED_RESPONSE, WLA_E_UNAVAILABLE, TPM_RECONNECT,
         "the answer of the TPM is malformed", hint_lost},
        {TSS2_BASE_RC_INSUFFICIENT_RESPONSE, WLA_E_UNAVAILABLE, TPM_RECONNECT,
         "the answer of the TPM is too short", hint_lost},
        {TSS2_BASE_RC_INSUFFICIENT_BUFFER, WLA_E_UNAVAILABLE, TPM_RECONNECT,
         "the answer of the TPM is malformed", hint_lost},
        {TSS2_BASE_RC_BAD_SIZE, WLA_E_UNAVAILABLE, TPM_RECONNECT,
         "the answer of the TPM is malformed", hint_lost},
        {TSS2_BASE_RC_BAD_VALUE, WLA_E_UNAVAILABLE, TPM_RECONNECT,
         "the answer of the TPM is malformed", hint_lost},
        {TSS2_BASE_RC_GENERAL_FAILURE, WLA_E_UNAVAILABLE, TPM_RECONNECT,
         "the answer of the TPM is malformed", hint_lost},
        {TSS2_BASE_RC_RSP_AUTH_FAILED, WLA_E_TPM, TPM_DROP,
         "the answer of the TPM was altered on its way",
         "something sits between this host and its TPM, or the TPM was reset; see SECURITY.md"},
        {TSS2_BASE_RC_MEMORY, WLA_E_BUSY, TPM_DROP, "out of memory", NULL},
};

TPM2_RC tpm_rc_base(TSS2_RC rc) {
        TSS2_RC layer = rc & TSS2_RC_LAYER_MASK;
        TPM2_RC code = rc & 0xfffu;

        if (layer != TSS2_TPM_RC_LAYER && layer != TSS2_RESMGR_TPM_RC_LAYER &&
            layer != TSS2_RESMGR_RC_LAYER)
                return 0;

        if (code & TPM2_RC_FMT1)
                code &= TPM2_RC_FMT1 | FORMAT_ONE_ERROR;
        return code;
}

static const struct rc_meaning *find(const struct rc_meaning *table, size_t count, TSS2_RC rc) {
        for (size_t i = 0; i < count; i++)
                if (table[i].rc == rc)
                        return &table[i];
        return NULL;
}

static const struct rc_meaning *meaning_of(TSS2_RC rc) {
        TPM2_RC base = tpm_rc_base(rc);

        if (base == 0)
                return find(stack_meanings, sizeof(stack_meanings) / sizeof(stack_meanings[0]),
                            rc & ~TSS2_RC_LAYER_MASK);

        /* A wrong value in the handle area is a handle that is gone, not a wrong ciphertext. */
        if (base == TPM2_RC_VALUE && !(rc & FORMAT_ONE_PARAMETER) && (rc & TPM2_RC_N_MASK) != 0)
                base = TPM2_RC_HANDLE;

        return find(meanings, sizeof(meanings) / sizeof(meanings[0]), base);
}

enum tpm_remedy tpm_rc_remedy(TSS2_RC rc) {
        const struct rc_meaning *meaning = meaning_of(rc);

        /* A code that nobody knows may be a damaged answer, after which the session is out of step. */
        return meaning ? meaning->remedy : TPM_DROP;
}

static int fail_unknown(struct wla_error *err, TSS2_RC rc) {
        bool from_tpm = tpm_rc_base(rc) != 0;
        const char *text = "";

        if ((rc & TSS2_RC_LAYER_MASK) >> TSS2_RC_LAYER_SHIFT <= LAYER_DECODE_MAX)
                text = Tss2_RC_Decode(rc);

        return wla_fail_hint(err, from_tpm ? WLA_E_TPM : WLA_E_SYSTEM,
                             "see 'wlagent doctor' and the kernel log", "%s answered 0x%x %s",
                             from_tpm ? "the TPM" : "the TPM software stack", rc, text);
}

int tpm_rc_fail(struct wla_error *err, TSS2_RC rc, int errno_value) {
        const struct rc_meaning *meaning = meaning_of(rc);

        if (!meaning)
                return fail_unknown(err, rc);

        const char *reason = errno_value != 0 ? strerrordesc_np(errno_value) : NULL;
        if (reason)
                return wla_fail_hint(err, meaning->code, meaning->hint, "%s: %s", meaning->text,
                                     reason);

        return wla_fail_hint(err, meaning->code, meaning->hint, "%s (0x%x)", meaning->text, rc);
}

void tpm_rc_silence_library(void) {
        (void)setenv("TSS2_LOG", "all+NONE", false);
}
