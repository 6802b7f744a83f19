/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/clock.h"
#include "cli/client_version.h"
#include "cli/doctor.h"

#define VERSION_USEC (UINT64_C(5) * USEC_PER_SEC)

static const char check_name[] = "clients";
static const char remedy_old[] = "use a build with ocicrypt 1.1.0 or later: Debian 13 has one";
static const char remedy_install[] = "install one of them, with ocicrypt 1.1.0 or later in it";
static const char remedy_broken[] =
        "run it by hand to see what is wrong with it; reinstall it when it "
        "is damaged";
static const char remedy_decoder[] =
        "install ctd-decoder (package imgcrypt), version 1.1.4 or later";
static const char remedy_update[] = "use containerd 2.1.7, 2.2.2 or later, or 1.7";
static const char remedy_local_pull[] =
        "set use_local_image_pull = true in [plugins.'io.containerd.cri.v1.images']";

#define VERSION_NUMBER(major, minor, patch) ((major)*1000000u + (minor)*1000u + (patch))

static void report_ocicrypt(struct doctor *doctor, const struct client *client) {
        if (client->is_script)
                doctor_report(doctor, FINDING_OK, check_name, NULL,
                              "%s is a script (%s); whether what it runs knows keyproviders cannot "
                              "be told",
                              client->path, client->version);
        else if (client->knows_keyproviders)
                doctor_report(doctor, FINDING_OK, check_name, NULL, "%s knows keyproviders (%s)",
                              client->path, client->version);
        else
                doctor_report(doctor, FINDING_WARNING, check_name, remedy_old,
                              "%s is too old for keyproviders (%s)", client->path, client->version);
}

/* containerd 2 was released without decryption of what the CRI pulls; 2.1.7 and 2.2.2 have it again, on
 * the local pull path only (https://github.com/containerd/containerd). */
static bool containerd_lacks_decryption(unsigned version) {
        return (version >= VERSION_NUMBER(2, 0, 0) && version < VERSION_NUMBER(2, 1, 7)) ||
               (version >= VERSION_NUMBER(2, 2, 0) && version < VERSION_NUMBER(2, 2, 2));
}

/* containerd's own program holds no ocicrypt: ctd-decoder decrypts for it. */
static void report_containerd(struct doctor *doctor, const struct client *client) {
        unsigned version = client_version_number(client->version);
        struct wla_error ignored = {0};
        struct client decoder;

        if (containerd_lacks_decryption(version))
                doctor_report(doctor, FINDING_WARNING, check_name, remedy_update,
                              "%s does not decrypt images that Kubernetes pulls (%s)", client->path,
                              client->version);
        else if (version >= VERSION_NUMBER(2, 0, 0))
                doctor_report(
                        doctor, FINDING_WARNING, check_name, remedy_local_pull,
                        "%s decrypts images that Kubernetes pulls only on its local pull path "
                        "(%s)",
                        client->path, client->version);
        else if (client_find("ctd-decoder", VERSION_USEC, &decoder, &ignored) < 0)
                doctor_report(doctor, FINDING_WARNING, check_name, remedy_decoder,
                              "%s needs ctd-decoder to decrypt images (%s)", client->path,
                              client->version);
        else
                doctor_report(doctor, FINDING_OK, check_name, NULL, "%s is there (%s)",
                              client->path, client->version);
}

static const struct {
        const char *name;
        void (*report)(struct doctor *doctor, const struct client *client);
} clients[] = {
        {"skopeo", report_ocicrypt},       {"podman", report_ocicrypt},
        {"buildah", report_ocicrypt},      {"crio", report_ocicrypt},
        {"containerd", report_containerd}, {"ctd-decoder", report_ocicrypt},
};

void doctor_check_clients(struct doctor *doctor) {
        bool any = false;

        for (size_t i = 0; i < sizeof(clients) / sizeof(clients[0]); i++) {
                struct wla_error err = {0};
                struct client client;

                if (client_find(clients[i].name, VERSION_USEC, &client, &err) == 0)
                        clients[i].report(doctor, &client);
                else if (err.code != WLA_E_NOT_FOUND)
                        doctor_report(doctor, FINDING_WARNING, check_name, remedy_broken, "%s",
                                      wla_error_text(&err));
                any |= err.code != WLA_E_NOT_FOUND;
        }

        if (!any)
                doctor_report(doctor, FINDING_WARNING, check_name, remedy_install,
                              "none of skopeo, podman, buildah, CRI-O and containerd is installed");
}
