/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What libvirt is and does on this host, as its files and processes tell; libvirt itself is not asked,
 * which would start it.
 *
 * root stands before every path: "", or a directory that a test has made.
 * Ownership: by value.
 * Threads:   one.
 * Failure:   what cannot be read is not there; it is for reports.
 */

#include <limits.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <time.h>

#define LIBVIRT_HOOK        "/etc/libvirt/hooks/qemu.d/50-wlagent"
#define LIBVIRT_DEFINITIONS "/etc/libvirt/qemu"
#define LIBVIRT_SECRETS     "/etc/libvirt/secrets"
#define LIBVIRT_SAVED       "/var/lib/libvirt/qemu/save"
#define LIBVIRT_NAME_SIZE   256u

struct libvirt_host {
        uid_t root_user; /* who owns root: 0 but in tests */
        bool installed;
        bool has_hook;
        struct stat hook; /* itself, when it is a symbolic link */
        struct {
                const char *name; /* of the one that runs VMs: "virtqemud" or "libvirtd"; NULL */
                time_t since;     /* its start, to a second or so */
                pid_t pid;
        } daemon;
        struct {
                unsigned protected;                     /* domains with disks of ours */
                char protected_name[LIBVIRT_NAME_SIZE]; /* of one of them */
                unsigned encrypted;                     /* domains with <encryption> */
                char encrypted_name[LIBVIRT_NAME_SIZE];
                unsigned persistent; /* whose line of ours names a secret that is kept on disk */
                char persistent_name[LIBVIRT_NAME_SIZE];   /* of one of them */
                char persistent_secret[LIBVIRT_NAME_SIZE]; /* the secret's UUID */
                unsigned saved;                     /* protected ones whose memory is on disk */
                char saved_name[LIBVIRT_NAME_SIZE]; /* of one of them */
        } domains;
        unsigned registered; /* images of OpenStack: Nova defines instances when it starts them */
};

void libvirt_host_read(const char *root, const char *state_directory, struct libvirt_host *ret);

/* Whether there are VMs with disks of ours, or instances may be started that have some. */
bool libvirt_host_protects(const struct libvirt_host *host);

/* Whether that is so, or could become so. */
bool libvirt_host_is_concerned(const struct libvirt_host *host);

/* root and path, "" when that is too long. */
void libvirt_host_path(const char *root, const char *path, char to[static PATH_MAX]);

bool libvirt_host_exists(const char *root, const char *path);

/* The first bytes of a small file, terminated; "" when there are none. */
void libvirt_host_file(const char *root, const char *path, char *to, size_t size);
