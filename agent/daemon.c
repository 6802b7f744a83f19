/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/metrics.h"
#include "config/restart.h"
#include "control/image_keys.h"
#include "control/status.h"
#include "front_doors.h"
#include "key/access.h"
#include "keyprovider/service.h"
#include "loop/lane.h"
#include "loop/pool.h"
#include "reporting.h"
#include "source/local.h"
#include "source/wls_road.h"
#include "tpm/bind_opener.h"
#include "tpm/host_key.h"
#include "tpm/tpm.h"
#include "tpm/warm_up.h"
#include "vm/vm_service.h"
#include "vm/volume_work.h"

/* Work that waits for a worker: more than all connections can ask for is never queued. */
#define QUEUE_MAX       1024u
#define FLIGHTS_MAX     1024u
#define CACHED_KEYS_MAX 64u
#define METRICS_PERIOD  (15 * USEC_PER_SEC)
#define TIMER_ACCURACY  (50 * USEC_PER_MSEC)

/* A TPM that has been at one operation for this long when the daemon stops is not waited for. */
#define TPM_PATIENCE  (5 * USEC_PER_SEC)
#define TPM_POLL_NSEC 10000000

struct daemon {
        struct config *first;  /* at the start: what a reload cannot change is read from here */
        struct config *config; /* in force; at the start the same */
        uint64_t started_usec;
        sd_event *event;
        struct tpm *tpm;
        struct lane *tpm_lane;
        struct local_source *local;
        struct wls_road *wls;
        struct trust_reporter *reporter; /* NULL: no reports are made */
        struct key_routes routes;
        struct pool *pool;
        struct pool *broker_pool; /* for what waits for key brokers; NULL without any */
        struct key_access *access;
        struct keyprovider_service *keyprovider;
        struct image_keys *image_keys;
        struct lifecycle *lifecycle;
        struct vm_service *vms;
        struct volume_work *volume_work;
        struct front_doors *doors;
        sd_event_source *cache_timer;
        sd_event_source *metrics_timer;
        bool metrics_failing;
        sd_event_source *stop_timer;
};

static int check_event(int outcome, const char *what, struct wla_error *err) {
        if (outcome >= 0)
                return 0;
        return wla_fail_errno(err, -outcome, "cannot %s", what);
}

/* For keys in the cache and for requests that wait. */
static void arm_cache_timer(struct daemon *daemon) {
        uint64_t next_usec = key_access_next_usec(daemon->access);

        (void)sd_event_source_set_time(daemon->cache_timer, next_usec);
        (void)sd_event_source_set_enabled(
                daemon->cache_timer, next_usec == UINT64_MAX ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
}

static int on_cache_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        struct daemon *daemon = userdata;

        (void)source;
        (void)usec;
        key_access_expire(daemon->access, clock_now_usec());
        arm_cache_timer(daemon);
        return 0;
}

static void on_keys_moved(void *userdata) {
        arm_cache_timer(userdata);
}

static int on_pool(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        struct daemon *daemon = userdata;

        (void)source;
        (void)fd;
        (void)events;
        pool_dispatch(daemon->pool);
        if (daemon->broker_pool)
                pool_dispatch(daemon->broker_pool);
        arm_cache_timer(daemon);
        return 0;
}

static size_t queued_jobs(const struct daemon *daemon) {
        return pool_queued(daemon->pool) +
               (daemon->broker_pool ? pool_queued(daemon->broker_pool) : 0);
}

static void refresh_metrics(struct daemon *daemon) {
        metrics_set(METRIC_CONNECTIONS, front_doors_keyprovider_connections(daemon->doors));
        metrics_set(METRIC_CACHED_KEYS, key_access_count(daemon->access).cached);
        metrics_set(METRIC_QUEUE_DEPTH, queued_jobs(daemon));
        metrics_set(METRIC_SECURE_HEAP_BYTES, wla_secret_heap_used());
        metrics_set(METRIC_VMS, lifecycle_count(daemon->lifecycle));
        metrics_set(METRIC_VOLUMES_OPEN, lifecycle_open_disks(daemon->lifecycle));
        metrics_set(METRIC_TRUST_REPORTS_WAITING, trust_reporter_waiting(daemon->reporter));
}

/* A full disk must not fill the journal as well: the first failure in a row is told. */
static int on_metrics_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        struct daemon *daemon = userdata;
        struct wla_error err = {0};

        refresh_metrics(daemon);
        bool failed = metrics_write_file(daemon->first->agent.runtime_directory, &err) < 0;
        if (failed && !daemon->metrics_failing)
                log_line(LOG_WARNING, "metrics cannot be written: %s", wla_error_text(&err));
        daemon->metrics_failing = failed;
        return check_event(sd_event_source_set_time(source, usec + METRICS_PERIOD), "set a timer",
                           &err);
}

static int write_metrics(void *self, struct buf *reply, struct wla_error *err) {
        refresh_metrics(self);
        return metrics_write(reply, err);
}

static int write_status(void *self, struct buf *reply, struct wla_error *err) {
        const struct daemon *daemon = self;
        const struct config *config = daemon->config;
        const struct config *first = daemon->first;
        struct binding_key_info binding_key;
        struct wla_error problem = {0};
        uint64_t now_usec = clock_now_usec();
        uint64_t busy_since_usec = lane_busy_since_usec(daemon->tpm_lane);
        int outcome = binding_key_info_read(first->agent.state_directory, &binding_key, &problem);

        _cleanup_buf_ struct buf vms = BUF_WITH_LIMIT(CONTROL_REPLY_MAX);
        _cleanup_buf_ struct buf reports = BUF_WITH_LIMIT(CONTROL_REPLY_MAX);
        if (lifecycle_write_json(daemon->lifecycle, &vms, err) < 0 ||
            trust_reporter_write_json(daemon->reporter, &reports, err) < 0)
                return wla_wrap(err, "writing the status");
        const char *vms_text = buf_text(&vms, err);
        const char *reports_text = buf_text(&reports, err);
        if (!vms_text || !reports_text)
                return -1;

        struct wls_state broker;
        bool has_broker = wls_road_state(daemon->wls, &broker);
        const struct daemon_status status = {
                .config_path = config->path,
                .uptime_usec = now_usec - daemon->started_usec,
                .memory_locked = wla_secret_heap_locked(),
                .secure_heap_used = wla_secret_heap_used(),
                .secure_heap_size = wla_secret_heap_size(),
                .keyprovider_socket = first->keyprovider.socket,
                .keyprovider_connections = front_doors_keyprovider_connections(daemon->doors),
                .allow_wrap = config->keyprovider.allow_wrap,
                .keys = key_access_count(daemon->access),
                .cache_usec = config->keys.cache_usec,
                .queued_jobs = queued_jobs(daemon),
                .tpm_device = first->tpm.device,
                .tpm_busy_usec = busy_since_usec ? now_usec - busy_since_usec : 0,
                .binding_key = outcome == 0 ? binding_key.fingerprint : NULL,
                .binding_key_problem = outcome == 0 ? NULL : wla_error_text(&problem),
                .binding_key_pcrs = outcome == 0 ? binding_key.pcrs : 0,
                .broker = has_broker ? &broker : NULL,
                .vms = vms_text,
                .reports = reports_text,
        };
        return daemon_status_write(&status, reply, err);
}

static void forget_keys(void *self) {
        struct daemon *daemon = self;

        key_access_forget(daemon->access);
}

static void exit_when_idle(struct daemon *daemon) {
        if (daemon->stop_timer && front_doors_connections(daemon->doors) == 0)
                (void)sd_event_exit(daemon->event, 0);
}

static void on_connection_closed(void *userdata) {
        exit_when_idle(userdata);
}

static int on_stop_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        struct daemon *daemon = userdata;

        (void)source;
        (void)usec;
        log_line(LOG_WARNING, "%zu connections did not end in time and are closed",
                 front_doors_connections(daemon->doors));
        return sd_event_exit(daemon->event, 0);
}

static int on_stop(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata) {
        struct daemon *daemon = userdata;

        (void)source;
        (void)info;
        if (daemon->stop_timer)
                return 0;

        (void)sd_notify(0, "STOPPING=1\nSTATUS=finishing what is in flight");
        int outcome = sd_event_add_time_relative(
                daemon->event, &daemon->stop_timer, CLOCK_MONOTONIC,
                daemon->config->agent.stop_timeout_usec, TIMER_ACCURACY, on_stop_timer, daemon);
        front_doors_shutdown(daemon->doors);
        if (outcome < 0)
                return sd_event_exit(daemon->event, 0);
        exit_when_idle(daemon);
        return 0;
}

static struct lifecycle_settings lifecycle_settings_of(const struct config *config) {
        return (struct lifecycle_settings){
                .lease_usec = config->libvirt.lease_usec,
                .migrate_lease_usec = config->libvirt.migrate_lease_usec,
        };
}

static struct vm_service_settings vm_service_settings_of(const struct config *config) {
        return (struct vm_service_settings){
                .launch_timeout_usec = config->libvirt.launch_timeout_usec,
                .orphan_usec = config->libvirt.orphan_usec,
        };
}

static struct image_keys_settings image_keys_settings_of(const struct config *config) {
        return (struct image_keys_settings){
                .allow_wrap = config->keyprovider.allow_wrap,
                .timeout_usec = config->keyprovider.call_timeout_usec,
        };
}

static void apply_config(struct daemon *daemon) {
        const struct config *config = daemon->config;
        const struct keyprovider_settings settings = {
                .allow_wrap = config->keyprovider.allow_wrap,
                .allow_unauthenticated_wrap = config->keyprovider.allow_unauthenticated_wrap,
        };

        log_set_level((int)config->agent.log_level);
        key_access_configure(daemon->access, config->keys.cache_usec);
        keyprovider_service_configure(daemon->keyprovider, &settings);
        const struct image_keys_settings image_keys = image_keys_settings_of(config);
        image_keys_configure(daemon->image_keys, &image_keys);
        const struct lifecycle_settings lifecycle = lifecycle_settings_of(config);
        lifecycle_configure(daemon->lifecycle, &lifecycle);
        const struct vm_service_settings vms = vm_service_settings_of(config);
        vm_service_configure(daemon->vms, &vms);
        front_doors_configure(daemon->doors, config);
        trust_reporter_resume(daemon->reporter);
        arm_cache_timer(daemon);
}

static void log_faults(struct buf *faults) {
        struct wla_error err = {0};
        const char *line = buf_text(faults, &err);

        while (line && *line) {
                size_t length = strcspn(line, "\n");

                log_line(LOG_ERR, "%.*s", (int)length, line);
                line += length + (line[length] == '\n');
        }
}

static int on_reload(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata) {
        struct daemon *daemon = userdata;
        _cleanup_buf_ struct buf faults = BUF_WITH_LIMIT(65536);
        struct config *next = NULL;
        struct wla_error err = {0};

        (void)source;
        (void)info;
        if (daemon->stop_timer) {
                log_line(LOG_NOTICE,
                         "wlagentd does not read its configuration again: it is stopping");
                return 0;
        }
        (void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_now_usec());
        if (config_read(daemon->config->path, &next, &faults, &err) < 0) {
                log_faults(&faults);
                log_event(LOG_ERR, LOG_ID_RELOAD_FAILED, NULL,
                          "the configuration stays as it was: %s", wla_error_text(&err));
        } else {
                config_tell_restart(daemon->first, next);
                if (daemon->config != daemon->first)
                        config_free(daemon->config);
                daemon->config = next;
                apply_config(daemon);
                log_event(LOG_NOTICE, LOG_ID_RELOADED, NULL, "the configuration was read again");
        }
        (void)sd_notify(0, "READY=1");
        return 0;
}

/* Files and credentials are read when a key is first needed: without them the agent serves other keys. */
static int place_host_keys(struct daemon *daemon, struct wla_error *err) {
        const struct config *config = daemon->config;
        const struct host_key_place binding = {
                .path = config->wls.binding_key,
                .credential = "binding-key-secret",
        };
        const struct host_key_place signing = {
                .path = config->wls.signing_key,
                .credential = "signing-key-secret",
        };

        if (!daemon->wls)
                return 0;
        if (tpm_host_key_place(daemon->tpm, HOST_KEY_BINDING, &binding, err) < 0)
                return -1;
        return tpm_host_key_place(daemon->tpm, HOST_KEY_SIGNING, &signing, err);
}

/* Brokers that hang shall not keep those waiting whose keys are here. */
static int make_broker_sources(struct daemon *daemon, struct wla_error *err) {
        struct key_source *sources = daemon->routes.sources;
        unsigned workers = (unsigned)daemon->config->wls.max_requests;

        if (!daemon->wls)
                return 0;
        if (pool_new(workers, QUEUE_MAX, &daemon->broker_pool, err) < 0)
                return -1;
        sources[KEY_SCHEME_HTTPS] = wls_road_source(daemon->wls);
        sources[KEY_SCHEME_HTTPS].pool = daemon->broker_pool;
        sources[KEY_SCHEME_WLS] = wls_road_image_source(daemon->wls);
        sources[KEY_SCHEME_WLS].pool = daemon->broker_pool;
        return 0;
}

static int make_pipeline(struct daemon *daemon, struct wla_error *err) {
        const struct config *config = daemon->config;
        const struct key_access_settings access_settings = {
                .cache_usec = config->keys.cache_usec,
                .flights_max = FLIGHTS_MAX,
                .cached_keys_max = CACHED_KEYS_MAX,
                .moved = on_keys_moved,
                .userdata = daemon,
        };
        const struct keyprovider_settings keyprovider_settings = {
                .allow_wrap = config->keyprovider.allow_wrap,
                .allow_unauthenticated_wrap = config->keyprovider.allow_unauthenticated_wrap,
        };

        const struct image_keys_settings image_keys_settings = image_keys_settings_of(config);

        if (tpm_new(config->tpm.device, config->agent.state_directory, &daemon->tpm, err) < 0 ||
            lane_new("tpm", daemon->tpm, QUEUE_MAX, &daemon->tpm_lane, err) < 0 ||
            local_source_new(config->agent.state_directory, &daemon->local, err) < 0 ||
            wls_road_new(config, &daemon->wls, err) < 0 || place_host_keys(daemon, err) < 0)
                return -1;

        daemon->routes.sources[KEY_SCHEME_LOCAL] = local_source_as_source(daemon->local);
        daemon->routes.openers[ENVELOPE_TPM_BOUND] = bind_opener(daemon->tpm_lane);
        daemon->routes.openers[ENVELOPE_HOST_BOUND] = host_bind_opener(daemon->tpm_lane);

        if (pool_new((unsigned)config->agent.worker_threads, QUEUE_MAX, &daemon->pool, err) < 0 ||
            make_broker_sources(daemon, err) < 0 ||
            key_access_new(&daemon->routes, daemon->pool, &access_settings, &daemon->access, err) <
                    0 ||
            keyprovider_service_new(daemon->access, &keyprovider_settings, &daemon->keyprovider,
                                    err) < 0 ||
            image_keys_new(daemon->access, &image_keys_settings, &daemon->image_keys, err) < 0)
                return -1;
        return 0;
}

static int make_vms(struct daemon *daemon, struct wla_error *err) {
        const struct config *config = daemon->config;
        const struct lifecycle_settings settings = lifecycle_settings_of(config);
        const struct lifecycle_options lifecycle_options = {
                .event = daemon->event,
                .access = daemon->access,
                .volume_socket = config->volumes.socket,
                .runtime_directory = config->agent.runtime_directory,
                .reporter = daemon->reporter,
        };

        if (lifecycle_new(&lifecycle_options, &settings, &daemon->lifecycle, err) < 0)
                return -1;
        const struct vm_service_options options = {
                .lifecycle = daemon->lifecycle,
                .state_directory = config->agent.state_directory,
                .volume_socket = config->volumes.socket,
        };
        const struct volume_work_options work = {
                .event = daemon->event,
                .access = daemon->access,
                .volume_socket = config->volumes.socket,
        };
        const struct vm_service_settings service_settings = vm_service_settings_of(config);
        if (vm_service_new(&options, &service_settings, &daemon->vms, err) < 0)
                return -1;
        return volume_work_new(&work, &daemon->volume_work, err);
}

static int block_signals(struct wla_error *err) {
        sigset_t signals;

        (void)sigemptyset(&signals);
        (void)sigaddset(&signals, SIGTERM);
        (void)sigaddset(&signals, SIGINT);
        (void)sigaddset(&signals, SIGHUP);
        if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0)
                return wla_fail_errno(err, errno, "cannot block signals");
        return 0;
}

static int make_event_sources(struct daemon *daemon, struct wla_error *err) {
        sd_event *event = daemon->event;
        int outcome = sd_event_add_signal(event, NULL, SIGTERM, on_stop, daemon);

        if (outcome >= 0)
                outcome = sd_event_add_signal(event, NULL, SIGINT, on_stop, daemon);
        if (outcome >= 0)
                outcome = sd_event_add_signal(event, NULL, SIGHUP, on_reload, daemon);
        if (outcome >= 0)
                outcome = sd_event_add_io(event, NULL, pool_fd(daemon->pool), EPOLLIN, on_pool,
                                          daemon);
        if (outcome >= 0 && daemon->broker_pool)
                outcome = sd_event_add_io(event, NULL, pool_fd(daemon->broker_pool), EPOLLIN,
                                          on_pool, daemon);
        if (outcome >= 0)
                outcome = sd_event_add_time(event, &daemon->cache_timer, CLOCK_MONOTONIC,
                                            UINT64_MAX, TIMER_ACCURACY, on_cache_timer, daemon);
        if (outcome >= 0)
                outcome = sd_event_add_time_relative(event, &daemon->metrics_timer, CLOCK_MONOTONIC,
                                                     0, USEC_PER_SEC, on_metrics_timer, daemon);
        if (outcome >= 0)
                outcome = sd_event_source_set_enabled(daemon->metrics_timer, SD_EVENT_ON);
        if (outcome >= 0)
                outcome = sd_event_set_watchdog(event, true);
        return check_event(outcome, "set up the event loop", err);
}

/* systemd makes it for the unit; from a shell nobody does. */
static int make_runtime_directory(const struct config *config, struct wla_error *err) {
        _cleanup_close_ int fd = -1;

        if (file_open_directory(config->agent.runtime_directory, true, 0755, &fd, err) < 0)
                return wla_wrap(err, "RuntimeDirectory=");
        return 0;
}

static int open_doors(struct daemon *daemon, struct wla_error *err) {
        const struct front_doors_options options = {
                .event = daemon->event,
                .keyprovider = daemon->keyprovider,
                .control =
                        {
                                .status = write_status,
                                .metrics = write_metrics,
                                .forget = forget_keys,
                                .self = daemon,
                                .keyprovider = daemon->keyprovider,
                                .vms = vm_service_as_control(daemon->vms),
                                .work = volume_work_service(daemon->volume_work),
                                .images = image_keys_service(daemon->image_keys),
                        },
                .closed = on_connection_closed,
                .userdata = daemon,
        };

        return front_doors_open(&options, daemon->config, &daemon->doors, err);
}

int daemon_new(struct config *config, struct daemon **ret, struct wla_error *err) {
        struct daemon *daemon = calloc(1, sizeof(*daemon));

        if (!daemon) {
                config_free(config);
                return wla_fail(err, WLA_E_BUSY, "out of memory");
        }

        daemon->first = config;
        daemon->config = config;
        daemon->started_usec = clock_now_usec();
        metrics_start();
        /* Before the first thread, which inherits the mask. */
        if (block_signals(err) < 0 ||
            check_event(sd_event_default(&daemon->event), "make an event loop", err) < 0 ||
            make_runtime_directory(config, err) < 0 || make_pipeline(daemon, err) < 0 ||
            reporting_new(config, daemon->event, daemon->wls, daemon->tpm_lane, &daemon->reporter,
                          err) < 0 ||
            make_vms(daemon, err) < 0 || open_doors(daemon, err) < 0 ||
            make_event_sources(daemon, err) < 0) {
                daemon_free(daemon);
                return -1;
        }

        *ret = daemon;
        return 0;
}

int daemon_run(struct daemon *daemon, struct wla_error *err) {
        tpm_warm_up(daemon->pool, daemon->tpm_lane, daemon->config->tpm.device);
        log_event(LOG_NOTICE, LOG_ID_STARTED, NULL, "wlagentd %s serves %s", WLAGENT_VERSION,
                  daemon->config->keyprovider.socket);
        (void)sd_notifyf(0, "READY=1\nSTATUS=serving %s", daemon->config->keyprovider.socket);

        int outcome = sd_event_loop(daemon->event);
        log_event(LOG_NOTICE, LOG_ID_STOPPED, NULL, "wlagentd stops");
        return check_event(outcome, "run the event loop", err);
}

/* A worker waits for the TPM at most as long as its request, but the lane waits for ever. */
static void leave_without_a_hanging_tpm(const struct daemon *daemon) {
        const struct timespec pause = {.tv_nsec = TPM_POLL_NSEC};
        uint64_t since_usec;

        for (;;) {
                since_usec = daemon->tpm_lane ? lane_busy_since_usec(daemon->tpm_lane) : 0;
                if (since_usec == 0)
                        return;
                if (clock_now_usec() - since_usec >= TPM_PATIENCE)
                        break;
                (void)nanosleep(&pause, NULL);
        }

        log_line(LOG_WARNING, "the TPM has not answered for %" PRIu64 " seconds and is left alone",
                 (clock_now_usec() - since_usec) / USEC_PER_SEC);
        if (daemon->access)
                key_access_forget(daemon->access);
        _exit(EXIT_FAILURE);
}

struct daemon *daemon_free(struct daemon *daemon) {
        if (!daemon)
                return NULL;

        front_doors_free(daemon->doors);
        volume_work_free(daemon->volume_work);
        lifecycle_end_reports(daemon->lifecycle);
        trust_reporter_free(daemon->reporter);
        lifecycle_free(daemon->lifecycle);
        vm_service_free(daemon->vms);
        leave_without_a_hanging_tpm(daemon);
        pool_free(daemon->pool);
        pool_free(daemon->broker_pool);
        image_keys_free(daemon->image_keys);
        keyprovider_service_free(daemon->keyprovider);
        key_access_free(daemon->access);
        lane_free(daemon->tpm_lane);
        wls_road_free(daemon->wls);
        local_source_free(daemon->local);
        tpm_free(daemon->tpm);
        sd_event_source_unref(daemon->stop_timer);
        sd_event_source_unref(daemon->metrics_timer);
        sd_event_source_unref(daemon->cache_timer);
        sd_event_unref(daemon->event);
        if (daemon->config != daemon->first)
                config_free(daemon->config);
        config_free(daemon->first);
        free(daemon);
        return NULL;
}
