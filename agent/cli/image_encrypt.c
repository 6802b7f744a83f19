/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/base64.h"
#include "base/clock.h"
#include "cli/command.h"
#include "cli/encrypt_job.h"
#include "cli/image_key.h"
#include "cli/json_writer.h"
#include "cli/owner_option.h"

enum {
        KEY,
        KEY_FILE,
        KBS,
        KBS_KEY,
        ASSET_TAG,
        POLICY,
        LABEL,
        FLAVOR,
        FLAVOR_KEY,
        OUTPUT_FORMAT,
        COMPACT,
        FORMAT,
        NO_SEAL,
        FORCE,
        JSON,
};

static const struct command_option options[] = {
        [KEY] = {"key", "KEY", "the key's id, or its name in the local store"},
        [KEY_FILE] = {"key-file", "FILE", "the key itself: 32 raw bytes, \"-\" for standard input"},
        [KBS] = {"kbs", "URL", "a key of Intel SecL's KBS; \"configured\": of KBS_BASE_URL"},
        [KBS_KEY] = {"kbs-key", "UUID", "the one that KBS has by that id, instead of a new one"},
        [ASSET_TAG] = {"asset-tag", "TAGS", "a new one for hosts with NAME:VALUE[,NAME:VALUE...]"},
        [POLICY] = {"transfer-policy", "UUID", "a new one under this transfer policy of KBS"},
        [LABEL] = {"label", "TEXT", "what a new key, and the flavor, is called"},
        [FLAVOR] = {"flavor", "FILE", "write the image's signed flavor there"},
        [FLAVOR_KEY] = {"flavor-key", "FILE", "the key that signs it, PEM"},
        [OUTPUT_FORMAT] = {"output-format", "wlagent|isecl", "what OUT becomes"},
        [COMPACT] = {"compact", NULL, "store allocated parts only; others can see which these are"},
        [FORMAT] = {"format", "raw|qcow2|isecl", "what IN is; isecl: as --output-format isecl"},
        [NO_SEAL] = {"no-seal", NULL, "without the code that 'wlagent image verify' checks"},
        [FORCE] = {"force", NULL, "replace OUT and its header"},
        [JSON] = {"json", NULL, "print a JSON object"},
        {0},
};

/* Of all formats only OUT can have isecl: so --format, which tells what IN is, may also say that. */
static int check_format_names(const char **format, const char **output, struct wla_error *err) {
        if (*format && strcmp(*format, "isecl") == 0) {
                if (*output && strcmp(*output, "isecl") != 0)
                        return wla_fail(err, WLA_E_INPUT,
                                        "--format isecl and --output-format %.20s exclude each "
                                        "other",
                                        *output);
                *output = *format;
                *format = NULL;
        }
        if (*format && strcmp(*format, "raw") != 0 && strcmp(*format, "qcow2") != 0)
                return wla_fail(err, WLA_E_INPUT, "'%.20s' is no format: raw or qcow2, or isecl",
                                *format);
        if (*output && strcmp(*output, "wlagent") != 0 && strcmp(*output, "isecl") != 0)
                return wla_fail(err, WLA_E_INPUT, "'%.20s' is no format: wlagent or isecl",
                                *output);
        return 0;
}

static int check_formats(const struct arguments *arguments, struct encrypt_options *what,
                         struct wla_error *err) {
        const char *format = arguments->option[FORMAT];
        const char *output = arguments->option[OUTPUT_FORMAT];

        if (check_format_names(&format, &output, err) < 0)
                return -1;
        what->isecl = output && strcmp(output, "isecl") == 0;
        if (what->isecl && (format || arguments->option[COMPACT] || arguments->option[NO_SEAL]))
                return wla_fail(err, WLA_E_INPUT,
                                "Intel SecL's format takes IN as it is, and always has its tag: "
                                "--format, --compact and --no-seal are for wlagent's own");
        what->format = format;
        what->compact = arguments->option[COMPACT] != NULL;
        what->seal = arguments->option[NO_SEAL] == NULL;
        return 0;
}

static int check_key_of_kbs(const struct arguments *arguments, struct encrypt_options *what,
                            struct uuid *policy, struct wla_error *err) {
        const struct owner_options wanted = {
                .kbs_key = arguments->option[KBS_KEY],
                .asset_tag = arguments->option[ASSET_TAG],
                .policy = arguments->option[POLICY],
                .label = arguments->option[LABEL],
        };

        if (arguments->option[KEY] || arguments->option[KEY_FILE])
                return wla_fail(err, WLA_E_INPUT,
                                "the key is either KBS's, or that of --key and --key-file");
        what->by_kbs = true;
        what->url = arguments->option[KBS];
        return owner_options_read(&wanted, policy, &what->wish, err);
}

static int check_named_key(const struct arguments *arguments, struct encrypt_options *what,
                           struct wla_error *err) {
        const char *key = arguments->option[KEY];

        what->key_file = arguments->option[KEY_FILE];
        what->named = key != NULL;
        if (what->isecl && !what->key_file)
                return wla_fail(err, WLA_E_INPUT,
                                "option --kbs or --key-file is missing: Intel SecL's format is "
                                "encrypted with the key itself");
        if (arguments->option[LABEL] && !arguments->option[FLAVOR])
                return wla_fail(err, WLA_E_INPUT,
                                "--label names a new key of KBS or a flavor, and there is neither");
        if (!key && (!what->isecl || arguments->option[FLAVOR]))
                return wla_fail(err, WLA_E_INPUT,
                                "option --key or --kbs is missing: under which key?");
        if (key && image_key_id(key, &what->key_id, err) < 0)
                return -1;
        return arguments->option[FLAVOR] ? flavor_key_check(&what->key_id, err) : 0;
}

static int check_options(const struct arguments *arguments, struct encrypt_options *what,
                         struct uuid *policy, struct wla_error *err) {
        bool by_kbs = arguments->option[KBS] || arguments->option[KBS_KEY] ||
                      arguments->option[ASSET_TAG] || arguments->option[POLICY];

        what->in = arguments->operand;
        what->out = arguments->second_operand;
        what->replace = arguments->option[FORCE] != NULL;
        what->flavor = (struct flavor_options){
                .path = arguments->option[FLAVOR],
                .key_path = arguments->option[FLAVOR_KEY],
                .label = arguments->option[LABEL],
                .replace = what->replace,
        };
        if (check_formats(arguments, what, err) < 0)
                return -1;
        if ((by_kbs ? check_key_of_kbs(arguments, what, policy, err)
                    : check_named_key(arguments, what, err)) < 0)
                return -1;
        return flavor_options_check(&what->flavor, err);
}

static int put_digest(struct json_writer *writer, const struct encrypt_job *job,
                      struct wla_error *err) {
        _cleanup_buf_ struct buf text = BUF_WITH_LIMIT(base64_encoded_size(SHA384_SIZE) + 1);

        if (!job->digested)
                return 0;
        if (base64_append(&text, job->digest, SHA384_SIZE, err) < 0 || !buf_text(&text, err))
                return -1;
        json_put_text(writer, "digest", (const char *)text.data);
        return 0;
}

static int print_json(const struct encrypt_job *job, uint64_t started_usec, struct wla_error *err) {
        _cleanup_json_writer_ struct json_writer writer = JSON_WRITER;
        const struct encrypt_options *what = job->options;

        json_open_object(&writer, NULL);
        json_put_text(&writer, "image", what->out);
        json_put_text(&writer, "format", what->isecl ? "isecl" : "wlagent");
        json_put_text(&writer, "header", what->isecl ? NULL : job->out_header);
        json_put_text(&writer, "uuid", what->isecl ? NULL : job->uuid.text);
        json_put_text(&writer, "key", what->by_kbs || what->named ? job->token.key_id.text : NULL);
        json_put_bool(&writer, "key_made", job->owner_key.made);
        json_put_text(&writer, "flavor", what->flavor.path);
        json_put_text(&writer, "content", image_content_name(job->token.content));
        json_put_number(&writer, "size", job->token.size);
        json_put_number(&writer, "virtual_size", job->token.virtual_size);
        json_put_bool(&writer, "sealed", what->isecl || job->token.sealed);
        if (put_digest(&writer, job, err) < 0)
                return -1;
        json_put_number(&writer, "milliseconds", (clock_now_usec() - started_usec) / USEC_PER_MSEC);
        json_close_object(&writer);
        return json_writer_print(&writer, err);
}

static void print_text(const struct encrypt_job *job) {
        const struct encrypt_options *what = job->options;

        if (what->isecl)
                (void)printf("%s is encrypted%s%s, in the format of Intel SecL.\n", what->out,
                             what->by_kbs || what->named ? " with " : "",
                             what->by_kbs || what->named ? job->token.key_id.text : "");
        else
                (void)printf("%s is encrypted under %s; keep %s with it.\n", what->out,
                             job->token.key_id.text, job->out_header);
        if (what->flavor.path)
                (void)printf("%s is its flavor, for POST /flavors of WLS.\n", what->flavor.path);
}

static enum outcome run(struct invocation *invocation, const struct arguments *arguments,
                        struct wla_error *err) {
        uint64_t started_usec = clock_now_usec();
        struct encrypt_options what = {0};
        _cleanup_encrypt_job_ struct encrypt_job job = ENCRYPT_JOB(&what);
        struct uuid policy;

        if (check_options(arguments, &what, &policy, err) < 0)
                return OUTCOME_USAGE;
        if (encrypt_job_run(invocation, &job, err) < 0)
                return OUTCOME_FAILED;

        if (arguments->option[JSON])
                return print_json(&job, started_usec, err) < 0 ? OUTCOME_FAILED : OUTCOME_OK;
        print_text(&job);
        return OUTCOME_OK;
}

const struct command command_image_encrypt = {
        .name = "encrypt",
        .summary = "Encrypt the disk IN, raw or qcow2, as the image OUT and OUT.header",
        .details = "OUT and its header get their names when both are whole.\n"
                   "Without --key-file and --kbs wlagentd wraps the image's key, which needs "
                   "AllowWrap=yes.\nA key of KBS needs neither: see wlagent-owner.conf(5).",
        .operand = OPERAND_TWO_FILES,
        .options = options,
        .run = run,
};
