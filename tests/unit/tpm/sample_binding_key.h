/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A binding-key.json that setup wrote on a software TPM, bound to PCRs 7 and 11, which were zero. */

#define SAMPLE_FINGERPRINT "88ebbcc3331ffb9c43d43a3a3ebb7ac7aecbc9c23010e386b767d541152cb484"

static const char sample_binding_key[] =
        "{\n"
        "  \"version\": 1,\n"
        "  \"storage_handle\": \"0x81000001\",\n"
        "  \"storage_name\": \"000bcac14e19f5254371b0788dc53afe5e75372c8fec899f2a5"
        "7286e27eba453f0bd\",\n"
        "  \"public\": \"ATYAAQALAAIEMgAgOEN4yu3clpCyrJWJgnp1alxGyLMxeLL+RoyAUxuXp"
        "T4AEAAQCAAAAAAAAQC/86KDr1D95NmHxTIFGJg5jKky67nnNAzKm54xFZjVxGvJlIQVduu"
        "3959t6FWM14lpM3dj/Qz6UN/DA1qHJjI6QbY7eqj7DoyPX6DVSxEWxt4eGtwCYJm4YCnOX"
        "pARp6pxLFGbpx/zrxw3yg9D0fqQ/3dFtBJa0VgCrXnhC6p5AD7FjtNQvb6zq3iE+R2xlD7"
        "5H7bZ80qt+K5ZVDwZpahOfmGHKdmTimRZFhKF1XM/lmE97XUNaCgMT6kiWDsNExA57ro6K"
        "8UJbqkZR/X93HsKSqAKUpx7S2ZOucu1sy5eMq5wZeA2VoegZ6xa9Wg9O55aTX7MiQr6A0V"
        "YUttOWXnF\",\n"
        "  \"private\": \"AN4AIMfOfQBYGqfVM36ljk4VDIps2McOw+tx/6jLVPYlvUHhABDS06ao"
        "q6NLAImyKLCmAfzCYyjNLZDbSJkZeQBPNU4s623pUWsOjwOwrgQnSRODWzL85sfuSXSK4k"
        "+PTZy7j5JRKEZfl7Q/ogDsVtXvflfGdhfXA376g8hnL8/J3HHDDiC3S9dyY7xqfL0CK5mn"
        "a2AC44SV/wyQXvX5QHt9rOwVyvvx/G0ifT75Axz7Q+dJgrYFFr2utcSC0cphYLGTUeF2DV"
        "Ly3AJLvwOiepb2lF3YqTgAarrsNMI+t2U=\",\n"
        "  \"name\": \"000b2348390b8ecf7f718eb6413c47e614bd44e2a0c3ceb9d066c1a1e67"
        "ee051124b\",\n"
        "  \"pcrs\": [7, 11],\n"
        "  \"pcr_values\": [\"0000000000000000000000000000000000000000000000000000"
        "000000000000\", \"000000000000000000000000000000000000000000000000000000"
        "0000000000\"],\n"
        "  \"pcr_policy\": \"384378caeddc9690b2ac9589827a756a5c46c8b33178b2fe468c8"
        "0531b97a53e\",\n"
        "  \"fingerprint\": \"88ebbcc3331ffb9c43d43a3a3ebb7ac7aecbc9c23010e386b767"
        "d541152cb484\"\n"
        "}\n";
