/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/vm_trust.h"

#include <string.h>

#include "trust_report/trust_reporter.h"
#include "vm/lifecycle_state.h"

static bool is_of(const struct vm_disk *disk, const struct uuid *image) {
        return disk->flavor.present && uuid_equal(&disk->flavor.image, image);
}

/* Also when it is the report of an earlier start, or the VM has gone meanwhile. */
static void kept(void *userdata, const struct report_name *name) {
        struct lifecycle *lifecycle = userdata;
        struct vm *vm = lifecycle_find(lifecycle, &name->vm);

        if (!vm || vm->state != VM_RUNNING || vm->since_sec != name->started_sec)
                return;
        for (size_t i = 0; i < vm->disk_count; i++)
                if (is_of(vm->disks[i], &name->image))
                        vm->disks[i]->reported = true;
        lifecycle_note(vm);
}

/* What has a volume of ours is ciphertext on the disk; libvirt's own encryption is none of a flavor's. */
static bool is_encrypted(const struct vm_disk *disk) {
        return disk->mode != DISK_SECRET && disk->name[0] != '\0';
}

static struct trust_facts facts_of(const struct vm_disk *disk) {
        const struct flavor_verdict *flavor = &disk->flavor;
        struct trust_facts facts = {
                .vm = disk->vm->uuid,
                .image = flavor->image,
                .image_encrypted = is_encrypted(disk),
                .encryption_required = flavor->encryption_required,
                .signature = flavor->signature_verified ? SIGNATURE_VALID : SIGNATURE_SKIPPED,
                .started_sec = disk->vm->since_sec,
        };

        memcpy(facts.flavor, flavor->flavor.text, sizeof(facts.flavor));
        return facts;
}

/* Two disks of one image have one report. */
static bool is_first_of_image(const struct vm *vm, size_t at) {
        for (size_t i = 0; i < at; i++)
                if (is_of(vm->disks[i], &vm->disks[at]->flavor.image))
                        return false;
        return true;
}

void vm_trust_report(struct vm *vm) {
        struct trust_reporter *reporter = vm->lifecycle->options.reporter;
        const struct report_listener listener = {.kept = kept, .userdata = vm->lifecycle};

        for (size_t i = 0; reporter && i < vm->disk_count; i++) {
                const struct vm_disk *disk = vm->disks[i];

                if (!disk->flavor.present || disk->reported || disk->by_hand ||
                    !is_first_of_image(vm, i))
                        continue;
                const struct trust_facts facts = facts_of(disk);
                trust_reporter_add(reporter, &facts, &listener);
        }
}
