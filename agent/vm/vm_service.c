/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/vm_service.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "vm/registry.h"
#include "vm/report.h"
#include "wlagent/control.h"

/* What libvirt does not wait for: nothing is opened then. */
#define NOTICE_TIMEOUT (2 * USEC_PER_SEC)

/* volumed and key sources give up this much before the hook does, so that their reason reaches it. */
#define REASON_MARGIN (250 * USEC_PER_MSEC)

struct vm_service {
        struct vm_service_options options;
        uint64_t launch_timeout_usec;
        struct control_service control;
};

/* A command that waits for the lifecycle. */
struct service_call {
        struct vm_call *opening;
        control_done_fn done;
        void *userdata;
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
            operations[request.operation].weight >= TELLS)
                return NOTICE_TIMEOUT;
        return service->launch_timeout_usec;
}

static uint64_t timeout_usec(void *self, uint16_t command, const struct buf *payload) {
        const struct vm_service *service = self;

        return command == CONTROL_DOMAIN ? domain_timeout_usec(service, payload)
                                         : service->launch_timeout_usec;
}

static void answer(control_done_fn done, void *userdata, int outcome, const struct wla_error *err) {
        const struct control_result result = {.err = outcome < 0 ? err : NULL};

        done(userdata, &result);
}

static void opened(void *userdata, const struct wla_error *err) {
        struct service_call *call = userdata;
        const struct control_result result = {.err = err};
        control_done_fn done = call->done;
        void *receiver = call->userdata;

        free(call);
        done(receiver, &result);
}

static uint64_t opening_deadline_usec(const struct vm_service *service,
                                      const struct control_request *request) {
        uint64_t margin_usec = service->launch_timeout_usec / 4;

        return request->deadline_usec - (margin_usec < REASON_MARGIN ? margin_usec : REASON_MARGIN);
}

/* *ret is NULL when the call has ended already. */
static void open_disks(struct vm_service *service, const struct control_request *request,
                       struct vm_order *order, control_done_fn done, void *userdata, void **ret) {
        struct service_call *call = calloc(1, sizeof(*call));
        struct vm_call *opening;
        struct wla_error err = {0};

        if (!call) {
                answer(done, userdata, wla_fail(&err, WLA_E_BUSY, "out of memory"), &err);
                return;
        }
        call->done = done;
        call->userdata = userdata;
        order->peer = request->peer;
        order->deadline_usec = opening_deadline_usec(service, request);
        order->done = opened;
        order->userdata = call;
        lifecycle_open(service->options.lifecycle, order, &opening);
        if (!opening)
                return;
        call->opening = opening;
        *ret = call;
}

/* A disk of Nova is protected when the image that it was made from is registered. */
static int check_nova(const struct vm_service *service, const struct domain *domain,
                      struct wla_error *err) {
        _cleanup_close_ int header_fd = -1;

        if (!domain->nova.present || domain->nova.image.text[0] == '\0')
                return 0;
        if (registry_open(service->options.state_directory, &domain->nova.image, &header_fd, err) <
            0)
                return -1;
        if (header_fd < 0)
                return 0;
        return wla_fail(err, WLA_E_UNSUPPORTED,
                        "image %s is registered, but disks of Nova are not "
                        "opened",
                        domain->nova.image.text);
}

static int judge_domain(const struct vm_service *service, enum weight weight,
                        const struct domain *domain, struct wla_error *err) {
        if (check_nova(service, domain, err) < 0)
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
static void begin_start(struct vm_service *service, const struct control_request *request,
                        const struct domain_request *asked, control_done_fn done, void *userdata,
                        void **ret) {
        enum weight weight = operations[asked->operation].weight;
        _cleanup_free_ struct domain *domain = calloc(1, sizeof(*domain));
        struct wla_error err = {0};
        int outcome = 0;

        if (!domain)
                outcome = wla_fail(&err, WLA_E_BUSY, "out of memory");
        if (outcome == 0)
                outcome = domain_parse(asked->xml, asked->xml_size, domain, &err);
        if (outcome == 0)
                outcome = judge_domain(service, weight, domain, &err);
        if (outcome < 0)
                report_definition(asked, domain, &err);

        if (outcome < 0 || weight != OPENS || domain->disk_count == 0) {
                /* It may have been protected when it was started before. */
                if (outcome == 0 && weight == OPENS)
                        lifecycle_released(service->options.lifecycle, &domain->uuid);
                answer(done, userdata, outcome, &err);
                return;
        }
        struct vm_order order = {
                .why = operations[asked->operation].why,
                .uuid = domain->uuid,
                .name = domain->name,
                .disks = domain->disks,
                .disk_count = domain->disk_count,
        };
        open_disks(service, request, &order, done, userdata, ret);
}

static void tell(struct vm_service *service, const struct domain_request *asked,
                 control_done_fn done, void *userdata) {
        _cleanup_free_ struct domain *domain = calloc(1, sizeof(*domain));
        struct wla_error err = {0};
        int outcome = domain ? domain_identify(asked->xml, asked->xml_size, domain, &err)
                             : wla_fail(&err, WLA_E_BUSY, "out of memory");

        if (outcome == 0)
                operations[asked->operation].tell(service->options.lifecycle, &domain->uuid);
        else
                log_line(LOG_WARNING, "what libvirt tells about a domain is not understood: %s",
                         wla_error_text(&err));
        if (operations[asked->operation].weight == TELLS_AT_MOST)
                outcome = 0;
        answer(done, userdata, outcome, &err);
}

static void begin_domain(struct vm_service *service, const struct control_request *request,
                         control_done_fn done, void *userdata, void **ret) {
        struct domain_request asked;
        struct wla_error err = {0};

        if (read_request(request->payload, &asked, &err) < 0) {
                answer(done, userdata, -1, &err);
                return;
        }
        if (operations[asked.operation].weight >= TELLS)
                tell(service, &asked, done, userdata);
        else
                begin_start(service, request, &asked, done, userdata, ret);
}

static void begin(void *self, const struct control_request *request, control_done_fn done,
                  void *userdata, void **ret) {
        struct vm_service *service = self;
        struct wla_error err = {0};

        *ret = NULL;
        if (request->command == CONTROL_DOMAIN) {
                begin_domain(service, request, done, userdata, ret);
                return;
        }
        answer(done, userdata,
               wla_fail(&err, WLA_E_UNSUPPORTED, "wlagentd does not know the control command %u",
                        request->command),
               &err);
}

static void cancel(void *self, void *opaque) {
        struct service_call *call = opaque;

        (void)self;
        vm_call_cancel(call->opening);
        free(call);
}

int vm_service_new(const struct vm_service_options *options, uint64_t launch_timeout_usec,
                   struct vm_service **ret, struct wla_error *err) {
        struct vm_service *service = calloc(1, sizeof(*service));

        if (!service)
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        service->options = *options;
        service->launch_timeout_usec = launch_timeout_usec;
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
        free(service);
        return NULL;
}

void vm_service_configure(struct vm_service *service, uint64_t launch_timeout_usec) {
        service->launch_timeout_usec = launch_timeout_usec;
}

const struct control_service *vm_service_as_control(const struct vm_service *service) {
        return &service->control;
}
