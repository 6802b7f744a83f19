/* SPDX-License-Identifier: Apache-2.0 */

/* The JSON of a container engine, as an image's owner answers it: what it says of the key is understood or
 * refused. */

#include <string.h>

#include "fuzz.h"
#include "kbs/key_choice.h"
#include "keyprovider/provider_request.h"

static void check_choice(const struct buf *parameter) {
        struct key_choice choice;
        struct wla_error err = {0};
        struct key_usage again;

        if (key_choice_parse((const char *)parameter->data, parameter->size, &choice, &err) < 0) {
                FUZZ_CHECK(err.code == WLA_E_INPUT);
                return;
        }
        if (choice.exists)
                FUZZ_CHECK(uuid_is_version4(&choice.id) && choice.usage.text[0] == '\0');
        if (choice.usage.text[0])
                FUZZ_CHECK(key_usage_parse(choice.usage.text, strlen(choice.usage.text), &again,
                                           &err) == 0);
        else if (parameter->size > strlen("Enabled"))
                FUZZ_CHECK(choice.exists);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_provider_wrap_ struct provider_wrap wrap = {0};
        struct wla_error err = {0};

        if (provider_wrap_parse((struct wla_bytes){data, size}, "isecl", &wrap, &err) < 0) {
                FUZZ_CHECK(err.code != WLA_OK && err.code != WLA_E_SYSTEM);
                return 0;
        }
        FUZZ_CHECK(wrap.options.size > 0 && wrap.options.size <= PROVIDER_OPTIONS_MAX);
        FUZZ_CHECK(wrap.parameter.size <= PROVIDER_PARAMETER_MAX);
        check_choice(&wrap.parameter);
        return 0;
}
