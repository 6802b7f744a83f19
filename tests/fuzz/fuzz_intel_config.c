/* SPDX-License-Identifier: Apache-2.0 */

/* config.yml of Intel's agent: the YAML in it, and what it says. */

#include <stdio.h>
#include <string.h>

#include "cli/intel_config.h"
#include "fuzz.h"

static int check_pair(void *userdata, const struct yaml_pair *pair, struct wla_error *err) {
        unsigned *line = userdata;

        (void)err;
        FUZZ_CHECK(pair->line >= *line && pair->line > 0);
        *line = pair->line;
        FUZZ_CHECK(pair->path[0] != '\0' && strlen(pair->path) < YAML_PATH_SIZE);
        FUZZ_CHECK((pair->kind == YAML_VALUE) == (pair->value != NULL));
        FUZZ_CHECK(!pair->value || strlen(pair->value) <= YAML_VALUE_MAX);
        return 0;
}

static void check_printable(const char *text) {
        FUZZ_CHECK(strlen(text) < INTEL_TEXT_SIZE);
        for (; *text; text++)
                FUZZ_CHECK(*text > ' ' && *text <= '~');
}

static void check_secret(const struct wla_secret *secret) {
        FUZZ_CHECK(!secret || wla_secret_view(secret).size == INTEL_AUTH_SIZE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static bool ready;
        _cleanup_intel_config_ struct intel_config config = {0};
        struct wla_error err = {0};
        unsigned line = 0;

        if (!ready && wla_secret_heap_init(true, &err) < 0)
                return 0;
        ready = true;

        int outcome = yaml_pairs_read(data, size, check_pair, &line, &err);
        FUZZ_CHECK(outcome == 0 || err.code == WLA_E_INPUT);

        err = (struct wla_error){0};
        if (intel_config_parse(data, size, &config, &err) < 0) {
                FUZZ_CHECK(err.code == WLA_E_INPUT);
                return 0;
        }
        FUZZ_CHECK(outcome == 0);
        check_printable(config.wls_url);
        check_printable(config.user);
        check_printable(config.log_level);
        check_secret(config.binding_secret);
        check_secret(config.signing_secret);
        FUZZ_CHECK(config.unknown_count <= INTEL_UNKNOWN_MAX);
        return 0;
}
