/* SPDX-License-Identifier: Apache-2.0 */
#include "keyprovider/provider_message.h"

#include "base/wiping_alloc.h"
#include "keyprovider/keyprovider.pb-c.h"

typedef Keyprovider__KeyProviderKeyWrapProtocolInput input_message;

static void *take_block(void *failed, size_t size) {
        void *block = wiping_malloc(size);

        if (!block)
                *(bool *)failed = true;
        return block;
}

static void free_block(void *failed, void *block) {
        (void)failed;
        wiping_free(block);
}

int provider_message_read(struct wla_bytes message, struct buf *json, struct wla_error *err) {
        bool out_of_memory = false;
        ProtobufCAllocator allocator = {
                .alloc = take_block,
                .free = free_block,
                .allocator_data = &out_of_memory,
        };

        input_message *input = keyprovider__key_provider_key_wrap_protocol_input__unpack(
                &allocator, message.size, message.data);
        if (!input && out_of_memory)
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
