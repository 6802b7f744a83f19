/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The places of the options of 'wlagent setup' in struct arguments. */

enum {
        SETUP_PCRS,
        SETUP_HANDLE,
        SETUP_REPLACE,
        SETUP_FORCE,
        SETUP_FILE,
        SETUP_ROOT,
        SETUP_JSON,
};
