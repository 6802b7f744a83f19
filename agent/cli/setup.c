/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/host_key_files.h"
#include "cli/json_writer.h"
#include "cli/pcr_option.h"
#include "cli/setup_options.h"
#include "cli/setup_task.h"
#include "cli/state_directory.h"
#include "source/key_store.h"
#include "tpm/tpm.h"

static const struct command_option options[] = {
        [SETUP_PCRS] = {"pcrs", "LIST", "bind the key to these PCRs as they are now, like 7,11"},
        [SETUP_HANDLE] = {"handle", "HANDLE", "keep the key in the TPM there, like 0x81000100"},
        [SETUP_REPLACE] = {"replace", NULL,
                           "make a new binding key; keys for the present one are lost"},
        [SETUP_FORCE] = {"force", NULL, "do a task again although it is done"},
        [SETUP_FILE] = {"file", "FILE", "take answers for tasks from there"},
        [SETUP_ROOT] = {"root", "DIR", "put credentials and drop-ins of units below DIR"},
        [SETUP_JSON] = {"json", NULL, "print a JSON object"},
        {0},
};

static const struct command_letter letters[] = {{'f', SETUP_FILE}, {0}};

/* The owner's share of the persistent handles (TCG Registry of Reserved TPM 2.0 Handles, section 2.3),
 * without the one of the storage key. */
#define HANDLE_FIRST       0x81000000u
#define HANDLE_LAST        0x817fffffu
#define HANDLE_STORAGE_KEY 0x81000001u

static const char hint_handle[] = "write one of 0x81000000..0x817fffff; 0x81000001 is the storage "
                                  "key's";
struct setup {
        const struct config *config;
        struct tpm_setup_options options;
        bool created;
        struct binding_key_info host;
        size_t lost_keys; /* in the store, for another binding key */
};

static int parse_handle(const char *text, uint32_t *ret, struct wla_error *err) {
        const char *digits = text + 2;
        uint32_t handle = 0;

        if (strncmp(text, "0x", 2) != 0 || strlen(digits) != 8)
                return wla_fail_hint(err, WLA_E_INPUT, hint_handle, "'%.80s' is not a handle",
                                     text);

        for (size_t i = 0; i < 8; i++) {
                static const char hex[] = "0123456789abcdef";
                const char *digit = strchr(hex, digits[i] | (digits[i] >= 'A' ? 0x20 : 0));

                if (!digit)
                        return wla_fail_hint(err, WLA_E_INPUT, hint_handle,
                                             "'%.80s' is not a handle", text);
                handle = handle << 4 | (uint32_t)(digit - hex);
        }

        if (handle < HANDLE_FIRST || handle > HANDLE_LAST || handle == HANDLE_STORAGE_KEY)
                return wla_fail_hint(err, WLA_E_INPUT, hint_handle,
                                     "handle %s is not for binding keys", text);
        *ret = handle;
        return 0;
}

static int take_options(const struct arguments *arguments, struct setup *setup,
                        struct wla_error *err) {
        struct tpm_setup_options *to = &setup->options;

        to->replace = arguments->option[SETUP_REPLACE] != NULL;
        to->handle = (uint32_t)setup->config->tpm.binding_key_handle;
        if (arguments->option[SETUP_HANDLE] &&
            parse_handle(arguments->option[SETUP_HANDLE], &to->handle, err) < 0)
                return -1;

        if (arguments->option[SETUP_PCRS] &&
            pcr_option_parse(arguments->option[SETUP_PCRS], &to->pcrs, err) < 0)
                return -1;
        return 0;
}

static int count_lost_keys(struct setup *setup, struct wla_error *err) {
        _cleanup_key_store_ struct key_store store = KEY_STORE_CLOSED;
        _cleanup_key_names_ struct key_names names = {0};

        if (key_store_open(setup->config->agent.state_directory, &store, err) < 0 ||
            key_store_list(&store, &names, err) < 0)
                return -1;

        for (size_t i = 0; i < names.count; i++) {
                struct wla_error ignored = {0};
                struct key_file file;

                if (key_store_read(&store, names.names[i], &file, &ignored) == 0 &&
                    strcmp(file.binding_key, setup->host.fingerprint) != 0)
                        setup->lost_keys++;
        }
        return 0;
}

static int set_up(struct setup *setup, struct wla_error *err) {
        const char *state_directory = setup->config->agent.state_directory;
        struct tpm *tpm = NULL;

        if (host_key_files_check_distinct(setup->config, err) < 0 ||
            state_directory_make(state_directory, err) < 0 ||
            tpm_new(setup->config->tpm.device, state_directory, &tpm, err) < 0)
                return -1;

        int outcome = tpm_setup(tpm, &setup->options, &setup->created, err);
        (void)tpm_free(tpm);
        if (outcome < 0 || binding_key_info_read(state_directory, &setup->host, err) < 0)
                return -1;

        return count_lost_keys(setup, err);
}

static void print_text(const struct setup *setup) {
        const struct binding_key_info *host = &setup->host;
        char pcrs[PCR_OPTION_TEXT_MAX];

        (void)printf(setup->created ? "Made the binding key of this host in the TPM (%s).\n"
                                    : "This host has a usable binding key in the TPM (%s) already; "
                                      "nothing was changed.\n",
                     setup->config->tpm.device);
        if (host->handle != 0)
                (void)printf("The TPM keeps it at handle 0x%08x.\n", host->handle);
        else
                (void)printf("It is kept in %s/binding-key.json, which only this TPM can load.\n",
                             setup->config->agent.state_directory);

        pcr_option_format(host->pcrs, pcrs);
        if (host->pcrs != 0)
                (void)printf(
                        "It works only while PCRs %s of the SHA-256 bank are as they were when "
                        "it was made.\n",
                        pcrs);
        else
                (void)puts("It is not bound to PCRs: it works whatever software this host runs.");

        (void)printf("Owners wrap keys for this host with its public key, %s/binding-key.pem\n"
                     "Its fingerprint is %s\n",
                     setup->config->agent.state_directory, host->fingerprint);
        if (setup->lost_keys > 0)
                (void)printf("%zu keys in the store are for another binding key, and cannot be "
                             "opened: see 'wlagent key list'\n",
                             setup->lost_keys);
}

static int print_json(const struct setup *setup, struct wla_error *err) {
        _cleanup_json_writer_ struct json_writer writer = JSON_WRITER;
        char text[4096];

        json_open_object(&writer, NULL);
        json_put_bool(&writer, "created", setup->created);
        json_put_text(&writer, "device", setup->config->tpm.device);
        json_put_text(&writer, "fingerprint", setup->host.fingerprint);
        (void)snprintf(text, sizeof(text), "%s/binding-key.pem",
                       setup->config->agent.state_directory);
        json_put_text(&writer, "pem_file", text);
        (void)snprintf(text, sizeof(text), "0x%08x", setup->host.handle);
        json_put_text(&writer, "handle", setup->host.handle != 0 ? text : NULL);
        json_open_array(&writer, "pcrs");
        for (unsigned number = 0; number < PCR_COUNT; number++)
                if (setup->host.pcrs & UINT32_C(1) << number)
                        json_put_number(&writer, NULL, number);
        json_close_array(&writer);
        json_put_number(&writer, "lost_keys", setup->lost_keys);
        json_close_object(&writer);
        return json_writer_print(&writer, err);
}

/* Some options are for tasks, and some for the agent's own key. */
static enum outcome check_options(const struct arguments *arguments, struct wla_error *err) {
        bool has_task = arguments->operand != NULL;

        for (size_t i = SETUP_PCRS; i < SETUP_JSON; i++) {
                if (!arguments->option[i] || has_task == (i >= SETUP_FORCE))
                        continue;
                (void)wla_fail(err, WLA_E_INPUT,
                               has_task ? "option --%s is for 'wlagent setup' without a task"
                                        : "option --%s is for tasks of 'wlagent setup'",
                               options[i].name);
                return OUTCOME_USAGE;
        }
        return OUTCOME_OK;
}

static enum outcome run(struct invocation *invocation, const struct arguments *arguments,
                        struct wla_error *err) {
        struct setup setup = {0};

        if (check_options(arguments, err) != OUTCOME_OK)
                return OUTCOME_USAGE;
        if (arguments->operand)
                return setup_tasks_run(invocation, arguments, err);

        if (invocation_config(invocation, &setup.config, err) < 0)
                return OUTCOME_FAILED;

        if (take_options(arguments, &setup, err) < 0)
                return OUTCOME_USAGE;

        if (invocation_guard_secrets(invocation, err) < 0 || set_up(&setup, err) < 0) {
                (void)wla_wrap(err, "setting up this host");
                return OUTCOME_FAILED;
        }

        if (!arguments->option[SETUP_JSON]) {
                print_text(&setup);
                return OUTCOME_OK;
        }

        return print_json(&setup, err) < 0 ? OUTCOME_FAILED : OUTCOME_OK;
}

const struct command command_setup = {
        .name = "setup",
        .summary = "Make this host's binding key in its TPM, and the key store",
        .details = "Keys for this host are wrapped to the binding key.  It never leaves the TPM.  "
                   "A second run changes\nnothing unless --replace is given.\n\n"
                   "With a TASK it joins Intel SecL's services instead: download-ca-cert, "
                   "binding-key, signing-key,\nregister-binding-key, register-signing-key, "
                   "update-service-config, or all of them.  wlagent(1) has the\nvariables of the "
                   "environment that they take.",
        .operand = OPERAND_TASK,
        .options = options,
        .letters = letters,
        .run = run,
};
