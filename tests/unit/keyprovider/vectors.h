/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Annotation packets that other implementations wrote, with their keys and plaintexts. */

/* Confidential Containers' sample packet with its published sample key. */
#define VECTOR_SAMPLE_KEY "2Zt3BbC6ehaClbOjNnJwsN2bNxv1FMqLm6fwozcR2uo="
#define VECTOR_SAMPLE_PACKET                                                                       \
        "{\"kid\":\"kbs:///default/key/1\",\"wrapped_data\":\""                                    \
        "KxAFgXwa0y72Xdygub9lF00RVMtSRbYzvakIEASgi3Gvt1wGLkhKPXf0S033Jdi6vAN6zBM7d0xZSDo2JCeew0Fe" \
        "KwTYgdJfdcPhuEpZOpjhwIsidyeiunzp0J/crvI1tSPZJw4DPHZN2eQtg71rDzIbuDM5ATheiDM9/YJv+k+n6Nv6" \
        "/pRb8qynNzbWFz7Q8wEo1ZZlL6UftOBJ6j9GuEOTM2k/B+5sMA2VhGHSzDsKA1mn0qzcn2HJg4GcmxwDpJwzm5n7" \
        "B4iIJ3A0umrQAjQ=\",\"iv\":\"3PQMqtjbR4hxCr83\",\"wrap_type\":\"A256GCM\"}"
#define VECTOR_SAMPLE_PLAIN                                                            \
        "{\"symkey\":\"1jL2jJV0Oyz2nmPkLtqulW6cKcpIUN5FpILcVnP5Uqs=\",\"digest\":"     \
        "\"sha256:18be1897f9402f27c8c0eba7c86e0c00f5656db62961b5949d55f9565c42c6e7\"," \
        "\"cipheroptions\":{\"nonce\":\"r10F9oaCu+nWFXfod3l83g==\"}}"

/* Key 20 21 ... 3f, iv 00 01 ... 0b. */
#define VECTOR_COUNTED_KEY "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="
#define VECTOR_COUNTED_WRAPPED                                                                     \
        "J3Au3idejpWew+uHZzYdfWQhryYNcu9SdWKf/vqxhNxUn0B4c1IRo7gior+OoEv2Sn6JtjJryqeKH2jAQtgQ22f9" \
        "qWmevI7sZVvzQDtJmKGzD6aKpn5jeFrrJGrlO511JB5gtRMELrTMb/TWhXodWrXJMEKmb1AAveOWKT0foWcq5bAI" \
        "LbBhrOGCdt1HhnjFVqOILfxGuxCY63LmzIUpCKmMFX5TEEwTxDx6YugK9Z73LUPQ/t1jWe3/yrXqpId00mDqVs24" \
        "XaXfYisKp959NDc="
#define VECTOR_COUNTED_PACKET                                                      \
        "{\"kid\":\"local:///counted\",\"wrapped_data\":\"" VECTOR_COUNTED_WRAPPED \
        "\",\"iv\":\"AAECAwQFBgcICQoL\",\"wrap_type\":\"A256GCM\"}"
#define VECTOR_COUNTED_PLAIN                                                           \
        "{\"symkey\":\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\",\"digest\":"     \
        "\"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"," \
        "\"cipheroptions\":{\"nonce\":\"AAECAwQFBgcICQoLDA0ODw==\"}}"

/* Intel SecL: key 00 01 ... 1f, nonce 00 01 ... 0b. */
#define VECTOR_INTEL_KEY "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define VECTOR_INTEL_INNER                                                                    \
        "{\"cipher_text\":\"PCClYqiOp2Kve7XK8Kw7LPSHwXaXGBY/aQipwVxZT/Z5Ufy5x4xH3ib9J6rK7El/" \
        "li4ExTLunvhCO12KwvqZ2P6msUwhDS0ENg==\",\"nonce\":\"AAECAwQFBgcICQoL\"}"
#define VECTOR_INTEL_KEY_URL \
        "https://kbs.example:9443/kbs/v1/keys/eb61b2e9-c7cd-4476-ac5f-71582c892112/transfer"
#define VECTOR_INTEL_PACKET_SHA256 \
        "0067d4219996080a4e539d10bc415eb3d98c4d55e5ea3ad0d43f146ea9c1749b"
#define VECTOR_INTEL_PLAIN "{\"symkey\":\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"}"
