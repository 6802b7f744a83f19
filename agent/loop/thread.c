/* SPDX-License-Identifier: Apache-2.0 */
#include "loop/thread.h"

#include <assert.h>
#include <signal.h>
#include <string.h>

#include "base/file.h"

/* A salted, encrypted TPM2_RSA_Decrypt through ESYS needs 27 KiB of stack, OpenSSL's RSA and AES 11 KiB,
 * the control block and thread-local storage 4 KiB: this is four times the worst.  Below 2 MiB the
 * kernel cannot back a stack with a huge page either, which would count as resident memory. */
#define STACK_SIZE (128u * 1024u)

static void block_signals(sigset_t *set) {
        static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

        /* The loop reads its signals from a file descriptor, which works only while no thread takes
         * them.  A fault belongs to the thread that made it. */
        (void)sigfillset(set);
        for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
                (void)sigdelset(set, faults[i]);
}

static int set_attributes(pthread_attr_t *attributes) {
        sigset_t signals;

        block_signals(&signals);
        int r = pthread_attr_setsigmask_np(attributes, &signals);
        return r ? r : pthread_attr_setstacksize(attributes, STACK_SIZE);
}

int thread_start(const char *name, void *(*run)(void *), void *argument, pthread_t *ret,
                 struct wla_error *err) {
        pthread_attr_t attributes;
        pthread_t thread;

        assert(strlen(name) <= THREAD_NAME_MAX);

        int r = pthread_attr_init(&attributes);
        if (r)
                return wla_fail_errno(err, r, "starting thread %s", name);

        r = set_attributes(&attributes);
        if (!r)
                r = pthread_create(&thread, &attributes, run, argument);
        (void)pthread_attr_destroy(&attributes);
        if (r)
                return wla_fail_errno(err, r, "starting thread %s", name);

        (void)pthread_setname_np(thread, name);
        *ret = thread;
        return 0;
}
