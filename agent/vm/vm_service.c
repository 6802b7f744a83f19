/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/vm_service.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "vm/launch_disk.h"
#include "vm/nova.h"
#include "vm/nova_return.h"
#include "vm/report.h"
#include "vm/service_call.h"
#include "wlagent/control.h"

/* What is told: nothing is opened then.  "started" has an answer that counts, and may take as long as a
 * start. */
#define NOTICE_TIMEOUT (2 * USEC_PER_SEC)

struct vm_service {
        struct vm_service_options options;
        struct vm_service_settings settings;
        struct orphans *orphans;
        struct control_service control;
};

enum weight {
        OPENS,
        CHECKS,        /* its disks have to be open */
        READS,         /* its definition has to be one that could start */
        TELLS,         /* only whose it is matters */
        TELLS_AT_MOST, /* and not even that has to be known */
};

static const struct {
        enum weight weight;
        enum vm_opening why;
        void (*tell)(struct lifecycle *lifecycle, const struct uuid *vm);
} operations[] = {
        [DOMAIN_PREPARE] = {OPENS, OPEN_FOR_START, NULL},
        [DOMAIN_START] = {CHECKS, 0, NULL},
        [DOMAIN_STARTED] = {TELLS, 0, lifecycle_started},
        [DOMAIN_STOPPED] = {TELLS, 0, lifecycle_stopped},
        [DOMAIN_RELEASE] = {TELLS, 0, lifecycle_released},
        [DOMAIN_MIGRATE] = {OPENS, OPEN_FOR_MIGRATION, NULL},
        [DOMAIN_RESTORE] = {READS, 0, NULL},
        [DOMAIN_RECONNECT] = {TELLS_AT_MOST, 0, lifecycle_reconnected},
        [DOMAIN_ATTACH] = {TELLS_AT_MOST, 0, lifecycle_reconnected},
};

#define OPERATION_COUNT (sizeof(operations) / sizeof(operations[0]))

struct domain_request {
        uint16_t operation;
        const char *xml;
        size_t xml_size;
};

static int read_request(const struct buf *payload, struct domain_request *ret,
                        struct wla_error *err) {
        struct control_domain head;

        if (payload->size < sizeof(head))
                return wla_fail(err, WLA_E_INPUT, "the request about a domain is cut off");
        memcpy(&head, payload->data, sizeof(head));
        if (head.reserved != 0 || head.xml_size != payload->size - sizeof(head))
                return wla_fail(err, WLA_E_INPUT, "this is no request about a domain");
        if (head.operation == 0 || head.operation >= OPERATION_COUNT)
                return wla_fail(err, WLA_E_UNSUPPORTED, "libvirt has no operation %u",
                                head.operation);
        *ret = (struct domain_request){
                .operation = head.operation,
                .xml = (const char *)payload->data + sizeof(head),
                .xml_size = head.xml_size,
        };
        return 0;
}

static uint64_t domain_timeout_usec(const struct vm_service *service, const struct buf *payload) {
        struct domain_request request;
        struct wla_error ignored = {0};

        if (read_request(payload, &request, &ignored) < 0 ||
            (operations[request.operation].weight >= TELLS && request.operation != DOMAIN_STARTED))
                return NOTICE_TIMEOUT;
        return service->settings.launch_timeout_usec;
}

static uint64_t timeout_usec(void *self, uint16_t command, const struct buf *payload) {
        const struct vm_service *service = self;

        return command == CONTROL_DOMAIN ? domain_timeout_usec(service, payload)
                                         : service->settings.launch_timeout_usec;
}

static int judge_domain(const struct vm_service *service, enum weight weight, struct domain *domain,
                        int *ret_header_fd, struct wla_error *err) {
        if (nova_protect(service->options.state_directory, domain, ret_header_fd, err) < 0)
                return -1;
        return weight == CHECKS ? lifecycle_check_start(service->options.lifecycle, domain, err)
                                : 0;
}

static void report_definition(const struct domain_request *asked, struct domain *domain,
                              const struct wla_error *err) {
        struct wla_error ignored = {0};
        bool known = domain && domain_identify(asked->xml, asked->xml_size, domain, &ignored) == 0;

        report_refused(known ? &domain->uuid : NULL, known ? domain->name : NULL, err);
}

/* A start, or what leads to one: the whole definition counts. */
static void begin_start(const struct service_context *context, const struct domain_request *asked) {
        const struct vm_service *service = context->service;
        enum weight weight = operations[asked->operation].weight;
        _cleanup_free_ struct domain *domain = calloc(1, sizeof(*domain));
        _cleanup_close_ int header_fd = -1;
        int header_fds[DOMAIN_DISKS_MAX];
        struct wla_error err = {0};
        int outcome = 0;

        if (!domain)
                outcome = wla_fail(&err, WLA_E_BUSY, "out of memory");
        if (outcome == 0)
                outcome = domain_parse(asked->xml, asked->xml_size, domain, &err);
        if (outcome == 0) {
                outcome = judge_domain(service, weight, domain, &header_fd, &err);
                /* Also where it cannot be told whether the image is registered. */
                *context->request->ret_protected = outcome < 0 || domain->disk_count > 0;
        }
        if (outcome < 0)
                report_definition(asked, domain, &err);

        if (outcome < 0 || weight != OPENS || domain->disk_count == 0) {
                /* It may have been protected when it was started before. */
                if (outcome == 0 && asked->operation == DOMAIN_PREPARE)
                        lifecycle_released(service->options.lifecycle, &domain->uuid);
                service_answer(context, outcome, &err);
                return;
        }
        for (size_t i = 0; i < domain->disk_count; i++)
                header_fds[i] = domain->disks[i].mode == DISK_NOVA ? TAKE_FD(header_fd) : -1;
        struct vm_order order = {
                .why = operations[asked->operation].why,
                .uuid = domain->uuid,
                .name = domain->name,
                .disks = domain->disks,
                .header_fds = header_fds,
                .disk_count = domain->disk_count,
        };
        service_open(context, &order, "");
}

struct release_call {
        struct service_call call; /* first: it is what is cancelled */
};

static void returned(void *userdata) {
        struct release_call *call = userdata;

        service_call_answer(&call->call, NULL, NULL);
        free(call);
}

/* libvirt hears of the end when Nova can have its disk back; false when it can already. */
static bool wait_for_return(const struct service_context *context, const struct uuid *vm) {
        struct nova_return *nova_return = lifecycle_nova_return(context->service->options.lifecycle,
                                                                vm);
        struct release_call *call = nova_return ? calloc(1, sizeof(*call)) : NULL;

        if (!call)
                return false;
        service_stay(context, &call->call);
        nova_return_wait(nova_return, returned, call);
        return true;
}

/* The header of the image below the root disk, which names the mapping; without such a disk it is nobody's. */
static int find_header(const struct domain *domain, int header_fd, struct uuid *ret,
                       struct wla_error *err) {
        struct luks2_header header;

        if (header_fd >= 0) {
                if (launch_header_read(header_fd, &header, err) < 0)
                        return -1;
                *ret = header.uuid;
                return 0;
        }
        for (size_t i = 0; i < domain->disk_count; i++)
                if (domain->disks[i].mode == DISK_NOVA && !domain->nova.image_below)
                        return wla_fail(err, WLA_E_INPUT, "nothing says which image is below it");
        *ret = domain->nova.below;
        return 0;
}

/* Whatever comes of it, the VM goes on. */
static void find_running(const struct vm_service *service, const struct domain_request *asked,
                         struct domain *domain) {
        struct lifecycle *lifecycle = service->options.lifecycle;
        const struct volume_name vm = {.kind = VOLUME_DISK, .uuid = domain->uuid};
        _cleanup_close_ int header_fd = -1;
        struct uuid header = {0};
        struct wla_error err = {0};

        if (lifecycle_knows(lifecycle, &vm))
                return;
        int outcome = domain_parse(asked->xml, asked->xml_size, domain, &err);
        if (outcome == 0)
                outcome = nova_protect(service->options.state_directory, domain, &header_fd, &err);
        if (outcome == 0)
                outcome = find_header(domain, header_fd, &header, &err);
        if (outcome == 0)
                lifecycle_found_running(lifecycle, domain, &header);
        else
                log_line(LOG_WARNING, "VM %s runs, what it has open is not known here: %s",
                         vm.uuid.text, wla_error_text(&err));
}

/* The answer to "started": what QEMU has to be writing to. */
static void answer_started(const struct service_context *context, const struct domain *domain) {
        struct lifecycle *lifecycle = context->service->options.lifecycle;
        _cleanup_buf_ struct buf names = BUF_WITH_LIMIT(DOMAIN_DISKS_MAX * VOLUME_NAME_SIZE);
        struct wla_error err = {0};
        struct control_result result = {.text = &names};

        if (lifecycle_write_arriving(lifecycle, &domain->uuid, &names, &err) < 0)
                result = (struct control_result){.err = &err};
        lifecycle_started(lifecycle, &domain->uuid);
        context->done(context->userdata, &result);
}

static void tell(const struct service_context *context, const struct domain_request *asked) {
        const struct vm_service *service = context->service;
        _cleanup_free_ struct domain *domain = calloc(1, sizeof(*domain));
        struct wla_error err = {0};
        int outcome = domain ? domain_identify(asked->xml, asked->xml_size, domain, &err)
                             : wla_fail(&err, WLA_E_BUSY, "out of memory");

        if (outcome == 0 && asked->operation == DOMAIN_STARTED) {
                answer_started(context, domain);
                return;
        }
        if (outcome == 0)
                operations[asked->operation].tell(service->options.lifecycle, &domain->uuid);
        else
                log_line(LOG_WARNING, "what libvirt tells about a domain is not understood: %s",
                         wla_error_text(&err));
        if (outcome == 0 && operations[asked->operation].weight == TELLS_AT_MOST)
                find_running(service, asked, domain);
        if (operations[asked->operation].weight == TELLS_AT_MOST)
                outcome = 0;
        if (outcome < 0 || asked->operation != DOMAIN_RELEASE ||
            !wait_for_return(context, &domain->uuid))
                service_answer(context, outcome, &err);
}

static void domain_command(const struct service_context *context) {
        struct domain_request asked;
        struct wla_error err = {0};

        if (read_request(context->request->payload, &asked, &err) < 0)
                service_answer(context, -1, &err);
        else if (operations[asked.operation].weight >= TELLS)
                tell(context, &asked);
        else
                begin_start(context, &asked);
}

static void unknown_command(const struct service_context *context) {
        struct wla_error err = {0};

        service_answer(context,
                       wla_fail(&err, WLA_E_UNSUPPORTED,
                                "wlagentd does not know the control command %u",
                                context->request->command),
                       &err);
}

static void begin(void *self, const struct control_request *request, control_done_fn done,
                  void *userdata, void **ret) {
        const struct service_context context = {
                .service = self,
                .request = request,
                .done = done,
                .userdata = userdata,
                .ret = ret,
        };

        *ret = NULL;
        switch (request->command) {
        case CONTROL_DOMAIN:
                domain_command(&context);
                return;
        case CONTROL_VOLUME_OPEN:
                volume_open_command(&context);
                return;
        case CONTROL_VOLUME_CLOSE:
                volume_close_command(&context);
                return;
        case CONTROL_VOLUMES:
                volumes_command(&context);
                return;
        case CONTROL_DOMAINS:
                domains_command(&context);
                return;
        case CONTROL_LAYER_REMOVE:
                layer_remove_command(&context);
                return;
        default:
                unknown_command(&context);
        }
}

static void cancel(void *self, void *opaque) {
        struct service_call *call = opaque;

        (void)self;
        call->cancel(call);
}

int vm_service_new(const struct vm_service_options *options,
                   const struct vm_service_settings *settings, struct vm_service **ret,
                   struct wla_error *err) {
        struct vm_service *service = calloc(1, sizeof(*service));

        if (!service)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        service->options = *options;
        service->settings = *settings;
        if (orphans_new(options->state_directory, &service->orphans, err) < 0) {
                free(service);
                return -1;
        }
        service->control = (struct control_service){
                .timeout_usec = timeout_usec,
                .begin = begin,
                .cancel = cancel,
                .self = service,
        };
        *ret = service;
        return 0;
}

struct vm_service *vm_service_free(struct vm_service *service) {
        if (service) {
                orphans_free(service->orphans);
                free(service);
        }
        return NULL;
}

void vm_service_configure(struct vm_service *service, const struct vm_service_settings *settings) {
        service->settings = *settings;
}

const struct control_service *vm_service_as_control(const struct vm_service *service) {
        return &service->control;
}

struct lifecycle *vm_service_lifecycle(const struct vm_service *service) {
        return service->options.lifecycle;
}

struct orphans *vm_service_orphans(const struct vm_service *service) {
        return service->orphans;
}

uint64_t vm_service_orphan_usec(const struct vm_service *service) {
        return service->settings.orphan_usec;
}

const char *vm_service_volume_socket(const struct vm_service *service) {
        return service->options.volume_socket;
}
