/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/vm.h"

#include <stddef.h>

#define CONNECT \
        { "connect", "URI", "the libvirt to ask instead of qemu:///system" }

static const struct command_option protect_options[] = {
        [VM_PROTECT_DISK] = {"disk", "TARGET", "the disk, by its target in the domain, like vda"},
        [VM_PROTECT_IMAGE] = {"image", "FILE",
                              "the encrypted image, made by 'wlagent image encrypt'"},
        [VM_PROTECT_MODE] = {"mode", "layer|direct|ephemeral",
                             "where its writes go: layer, direct or ephemeral"},
        [VM_PROTECT_KEY] = {"key", "KEYID",
                            "the image's or the secret's key; an image's header may name it"},
        [VM_PROTECT_HEADER] = {"header", "FILE", "the image's header, when it is not beside it"},
        [VM_PROTECT_SECRET] = {"secret", NULL,
                               "libvirt itself encrypts the disk: give its secret the key"},
        [VM_PROTECT_CONNECT] = CONNECT,
        [VM_PROTECT_DRY_RUN] = {"dry-run", NULL, "print the new definition, and change nothing"},
        [VM_PROTECT_JSON] = {"json", NULL, "print a JSON object"},
        {0},
};

static const struct command_option unprotect_options[] = {
        [VM_UNPROTECT_DISK] = {"disk", "TARGET", "only this disk"},
        [VM_UNPROTECT_CONNECT] = CONNECT,
        [VM_UNPROTECT_DRY_RUN] = {"dry-run", NULL, "print the new definition, and change nothing"},
        [VM_UNPROTECT_JSON] = {"json", NULL, "print a JSON object"},
        {0},
};

static const struct command_option list_options[] = {
        [VM_LIST_CONNECT] = CONNECT,
        [VM_LIST_JSON] = {"json", NULL, "print a JSON object"},
        {0},
};

static const struct command_option reconcile_options[] = {
        [VM_RECONCILE_CONNECT] = CONNECT,
        {0},
};

const struct command command_vm_protect = {
        .name = "protect",
        .summary = "Give a domain an encrypted image as its disk",
        .details =
                "The domain keeps its other devices, and what the disk was before is kept in its\n"
                "definition for 'wlagent vm unprotect'.  Modes:\n"
                "  layer      the image is only read; writes go to an encrypted layer of the "
                "domain\n"
                "  direct     writes go to the image itself\n"
                "  ephemeral  as layer, and all that was written is gone when the domain stops\n"
                "\n"
                "With --secret the disk stays as it is: it has an element <encryption>, and "
                "wlagentd gives\n"
                "the secret that this names its value while the domain starts.",
        .operand = OPERAND_DOMAIN,
        .options = protect_options,
        .needed = 1u << VM_PROTECT_DISK,
        .either = 1u << VM_PROTECT_IMAGE | 1u << VM_PROTECT_SECRET,
        .run = vm_protect,
};

const struct command command_vm_unprotect = {
        .name = "unprotect",
        .summary = "Give a domain the disks back that it had before",
        .details = "Images and layers stay where they are.",
        .operand = OPERAND_DOMAIN,
        .options = unprotect_options,
        .run = vm_unprotect,
};

const struct command command_vm_list = {
        .name = "list",
        .summary = "List the domains with encrypted disks",
        .operand = OPERAND_NONE,
        .options = list_options,
        .run = vm_list,
};

const struct command command_vm_reconcile = {
        .name = "reconcile",
        .summary = "Tell wlagentd which domains there are, so that it removes the layers of others",
        .operand = OPERAND_NONE,
        .options = reconcile_options,
        .run = vm_reconcile,
};

/* For completion. */
const struct command command_vm_names = {
        .name = "names",
        .operand = OPERAND_NONE,
        .run = vm_names,
};

static const struct command *const subcommands[] = {
        &command_vm_protect,   &command_vm_unprotect, &command_vm_list,
        &command_vm_reconcile, &command_vm_names,     NULL,
};

const struct command command_vm = {
        .name = "vm",
        .summary = "Run libvirt's domains from encrypted images",
        .details = "A changed definition takes effect when the domain starts next.",
        .operand = OPERAND_WORDS,
        .subcommands = subcommands,
};
