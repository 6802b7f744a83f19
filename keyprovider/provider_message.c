/* SPDX-License-Identifier: Apache-2.0 */
#include "keyprovider/provider_message.h"

#include "base/wiping_alloc.h"
#include "keyprovider/keyprovider.pb-c.h"

typedef Keyprovider__KeyProviderKeyWrapProtocolInput input_message;

/* What protobuf-c may take besides the bytes of the message: it spends much more on a field that is not
 * known than its sender does. */
#define ALLOWANCE 4096u

struct allowance {
        size_t left;
        bool out_of_memory;
};

static void *take_block(void *userdata, size_t size) {
        struct allowance *allowance = userdata;

        if (size > allowance->left)
                return NULL;
        allowance->left -= size;

        void *block = wiping_malloc(size);
        if (!block)
                allowance->out_of_memory = true;
        return block;
}

static void free_block(void *userdata, void *block) {
        (void)userdata;
        wiping_free(block);
}

int provider_message_read(struct wla_bytes message, struct buf *json, struct wla_error *err) {
        struct allowance allowance = {.left = message.size + ALLOWANCE};
        ProtobufCAllocator allocator = {
                .alloc = take_block,
                .free = free_block,
                .allocator_data = &allowance,
        };

        input_message *input = keyprovider__key_provider_key_wrap_protocol_input__unpack(
                &allocator, message.size, message.data);
        if (!input && allowance.out_of_memory)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        if (!input)
                return wla_fail(err, WLA_E_INPUT,
                                "the request is not the protobuf message of a "
                                "keyprovider");

        /* Both sides use the wiping allocator: the bytes change hands without a copy. */
        ProtobufCBinaryData *bytes = &input->keyproviderkeywrapprotocolinput;
        buf_clear(json);
        *json = (struct buf){
                .data = bytes->data,
                .size = bytes->len,
                .allocated = bytes->len,
                .limit = bytes->len,
        };
        *bytes = (ProtobufCBinaryData){0};
        keyprovider__key_provider_key_wrap_protocol_input__free_unpacked(input, &allocator);
        return 0;
}
