/* SPDX-License-Identifier: Apache-2.0 */
/* kafuka-broker: the command line, the properties file, the process. */
#include <config.h>

#include "broker/cluster/wanted_topics.h"
#include "broker/config/config.h"
#include "broker/run.h"
#include "broker/server/descriptors.h"
#include "broker/server/listener.h"
#include "common/base/topic_option.h"
#include "common/base/fsx.h"
#include "common/base/slog.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXIT_USAGE = 2 };

struct arguments {
    const char **files; /* one; with only_check any number */
    int file_count;
    struct props overrides;
    const char *log_file;
    bool is_daemon, only_check;
};

static const char usage[] =
    "usage: kafuka-broker [options] FILE\n"
    "       kafuka-broker --check-config [--override KEY=VALUE] FILE...\n"
    "\n"
    "Runs a broker with the options of FILE, a properties file as Kafka's server.properties.\n"
    "\n"
    "  --override KEY=VALUE  sets an option over the file; may be repeated\n"
    "  --daemon              goes to the background once it serves; errors until then are printed\n"
    "  --log-file PATH       appends log lines there instead of standard error; with --daemon by\n"
    "                        default kafuka-broker.log in the first log dir\n"
    "  --version             prints the version\n"
    "  --help                prints this\n"
    "  --check-config        only says of each FILE whether a broker would take its options\n"
    "  --help-config         prints every option that FILE can have: what it is, what it may be,\n"
    "                        and whether it works, has no effect yet, has no meaning here, or\n"
    "                        stops the start\n"
    "  --help-topic-config   prints the same for the configs of topics\n"
    "\n"
    "SIGTERM stops the broker: its leaders move to other brokers first. A second one hurries.\n"
    "SIGHUP opens the log file again, after logrotate or the like has renamed it.\n";

static int ready_fd = -1; /* the waiting parent's pipe, with --daemon */

/* The log file, for the handler of SIGHUP; set once, before threads are made. fd -1: none. */
static struct log_file {
    char *path;
    int fd;
} log_file = {.fd = -1};

static int fail(const char *text)
{
    (void)fprintf(stderr, "kafuka-broker: %s\n", text);
    return EXIT_FAILURE;
}

static bool add_override(struct arguments *a, const char *text)
{
    const char *equals = strchr(text, '=');

    if (equals == NULL || equals == text)
        return false;
    char *key = xstrndup(text, (size_t)(equals - text));
    props_set(&a->overrides, key, equals + 1, 0);
    mem_free(key);
    return true;
}

static int print_options(const struct optab *t,
                         void (*print)(const struct optab *t, struct buf *out))
{
    struct buf text = {0};

    print(t, &text);
    bool is_fine = fwrite(text.p, 1, text.len, stdout) == text.len && fflush(stdout) == 0;
    buf_fini(&text);
    return is_fine ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* The value of --name VALUE or --name=VALUE at argv[*i]; NULL: it is another option. */
static const char *value_of(const char *name, int argc, char **argv, int *i)
{
    size_t n = strlen(name);

    if (strncmp(argv[*i], name, n) != 0)
        return NULL;
    if (argv[*i][n] == '=')
        return argv[*i] + n + 1;
    if (argv[*i][n] == 0 && *i + 1 < argc)
        return argv[++*i];
    return NULL;
}

enum { GO_ON = -1 };

static int bad_usage(const char *what, const char *text)
{
    (void)fprintf(stderr, "kafuka-broker: %s: %s\n\n%s", what, text, usage);
    return EXIT_USAGE;
}

/* One argument. GO_ON, or the exit status. */
static int parse_argument(int argc, char **argv, int *i, struct arguments *a)
{
    const char *arg = argv[*i], *value;

    if (strcmp(arg, "--version") == 0) {
        (void)printf("kafuka-broker %s\n", PACKAGE_VERSION);
        return EXIT_SUCCESS;
    }
    if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
        (void)fputs(usage, stdout);
        return EXIT_SUCCESS;
    }
    if (strcmp(arg, "--help-config") == 0)
        return print_options(&config_options, optab_help);
    if (strcmp(arg, "--help-topic-config") == 0)
        return print_options(&topic_options, optab_help);
    if (strcmp(arg, "--help-config-markdown") == 0) /* docs/options.md */
        return print_options(&config_options, optab_markdown);
    if (strcmp(arg, "--help-topic-config-markdown") == 0) /* docs/topic-options.md */
        return print_options(&topic_options, optab_markdown);
    if (strcmp(arg, "--check-config") == 0)
        a->only_check = true;
    else if (strcmp(arg, "--daemon") == 0 || strcmp(arg, "-daemon") == 0)
        a->is_daemon = true;
    else if ((value = value_of("--override", argc, argv, i)) != NULL) {
        if (!add_override(a, value))
            return bad_usage("--override needs KEY=VALUE", value);
    } else if ((value = value_of("--log-file", argc, argv, i)) != NULL)
        a->log_file = value;
    else if (arg[0] == '-' && arg[1] != 0)
        return bad_usage("unknown option, or one without its value", arg);
    else {
        a->files = xrealloc(a->files, ((size_t)a->file_count + 1) * sizeof a->files[0]);
        a->files[a->file_count++] = arg;
    }
    return GO_ON;
}

static int parse_arguments(int argc, char **argv, struct arguments *a)
{
    for (int i = 1; i < argc; i++) {
        int status = parse_argument(argc, argv, &i, a);
        if (status != GO_ON)
            return status;
    }
    if (a->file_count == 0)
        return bad_usage("no properties file is named", "FILE");
    if (a->file_count > 1 && !a->only_check)
        return bad_usage("only one properties file is read", a->files[1]);
    return GO_ON;
}

/* ---- process */

static void on_signal(int number UNUSED)
{
    run_stop();
}

static int open_for_append(const char *path)
{
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

/* The descriptor keeps its number: whoever writes a line meanwhile writes it to one file or the
 * other. Everything here may be called in a handler. */
static void on_hangup(int number UNUSED)
{
    static const char text[] = "cannot open the log file again after SIGHUP: going on with this one\n";
    int saved = errno;

    if (log_file.fd < 0)
        return;
    int fd = open_for_append(log_file.path);
    if (fd < 0 || dup3(fd, log_file.fd, O_CLOEXEC) < 0)
        (void)!write(log_file.fd, text, sizeof text - 1);
    if (fd >= 0)
        (void)close(fd);
    errno = saved;
}

static void set_signals(void)
{
    struct sigaction stop = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    struct sigaction hangup = {.sa_handler = on_hangup, .sa_flags = SA_RESTART};
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    MUST(sigaction(SIGTERM, &stop, NULL) == 0 && sigaction(SIGINT, &stop, NULL) == 0);
    MUST(sigaction(SIGPIPE, &ignore, NULL) == 0 && sigaction(SIGHUP, &hangup, NULL) == 0);
}

/* In the parent, returns never: waits for the child to serve or to fail. In the child: goes on. */
static void go_to_background(void)
{
    int fds[2], status = 0;
    char byte;

    MUST(pipe2(fds, O_CLOEXEC) == 0);
    pid_t child = fork();
    ASSERT(child >= 0);
    if (child > 0) {
        (void)close(fds[1]);
        ssize_t n;
        do
            n = read(fds[0], &byte, 1);
        while (n < 0 && errno == EINTR);
        if (n == 1)
            _exit(EXIT_SUCCESS);
        (void)waitpid(child, &status, 0); /* it has said why on standard error */
        _exit(WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : EXIT_FAILURE);
    }
    (void)close(fds[0]);
    ready_fd = fds[1];
    (void)setsid();
}

/* The broker serves: lets the parent go, and standard input and output with it. */
static void on_started(void)
{
    if (ready_fd < 0)
        return;
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null_fd >= 0) {
        (void)dup2(null_fd, STDIN_FILENO);
        (void)dup2(null_fd, STDOUT_FILENO);
        (void)dup2(null_fd, STDERR_FILENO);
        (void)close(null_fd);
    }
    (void)!write(ready_fd, "1", 1);
    (void)close(ready_fd);
    ready_fd = -1;
}

static enum err open_log_file(const struct arguments *a, const struct config *c,
                              struct errtext *why)
{
    if (a->log_file == NULL && !a->is_daemon)
        return ERR_OK;
    if (a->log_file == NULL && fsx_mkdir_p(c->log_dirs.items[0], 0755) != ERR_OK) {
        errtext_set(why, "cannot make the log dir %s: %s", c->log_dirs.items[0], strerror(errno));
        return ERR_IO;
    }
    log_file.path = a->log_file != NULL
                        ? xstrdup(a->log_file)
                        : xasprintf("%s/kafuka-broker.log", c->log_dirs.items[0]);
    int fd = open_for_append(log_file.path);
    if (fd < 0) {
        errtext_set(why, "cannot write the log file %s: %s", log_file.path, strerror(errno));
        return err_from_errno(errno);
    }
    slog_set_fd(fd);
    log_file.fd = fd; /* last: a signal may come at any time */
    return ERR_OK;
}

static enum err load_config(const struct arguments *a, const char *path, struct config **out,
                            struct errtext *why)
{
    struct config *c = config_new();
    struct props file = {0};
    enum err rc = props_read_file(&file, path, why);

    if (rc == ERR_OK) {
        rc = config_set_all(c, &file, CONFIG_SOURCE_STATIC, why);
        if (rc != ERR_OK)
            errtext_wrap(why, "%s", path);
    }
    if (rc == ERR_OK)
        rc = config_set_all(c, &a->overrides, CONFIG_SOURCE_STATIC, why);
    if (rc == ERR_OK)
        rc = config_finish(c, why);
    if (rc == ERR_OK)
        MUST(slog_level_parse(c->log_level, &slog_min_level));
    else
        config_free(&c);
    props_fini(&file);
    *out = c;
    return rc;
}

/* What a start checks, as far as it needs neither disk nor network. */
static enum err check_file(const struct arguments *a, const char *path, struct errtext *why)
{
    struct config *c = NULL;
    struct listener *listeners = NULL;
    struct wanted_topics *wanted = NULL;
    int count = 0;
    enum err rc = load_config(a, path, &c, why);

    if (rc != ERR_OK)
        return rc;
    rc = listeners_from_config(c, &listeners, &count, why);
    if (rc == ERR_OK) {
        listeners_free(&listeners, count);
        rc = wanted_topics_parse(c, &wanted, why);
    }
    if (rc == ERR_OK) {
        wanted_topics_free(&wanted);
        config_log_no_effect(c, 1U << CONFIG_SOURCE_STATIC);
    }
    config_free(&c);
    return rc;
}

static int check_files(const struct arguments *a)
{
    int status = EXIT_SUCCESS;

    for (int i = 0; i < a->file_count; i++) {
        struct errtext why = {""};
        if (check_file(a, a->files[i], &why) == ERR_OK) {
            (void)printf("%s: a broker would take these options\n", a->files[i]);
            continue;
        }
        if (strncmp(why.text, a->files[i], strlen(a->files[i])) != 0)
            errtext_wrap(&why, "%s", a->files[i]);
        status = fail(why.text);
    }
    return status;
}

static int run(const struct arguments *a)
{
    struct config *config = NULL;
    struct errtext why = {""};

    /* few arenas: a broker's threads allocate little, and each arena keeps what it once had */
    (void)mallopt(M_ARENA_MAX, 2);
    (void)mallopt(M_MMAP_THRESHOLD, 256 * 1024);
    (void)mallopt(M_TRIM_THRESHOLD, 512 * 1024);
    (void)descriptors_raise_limit();
    fault_init();
    set_signals();
    enum err rc = load_config(a, a->files[0], &config, &why);
    if (rc == ERR_OK && a->is_daemon)
        go_to_background(); /* before any thread is made */
    if (rc == ERR_OK)
        rc = open_log_file(a, config, &why);
    if (rc == ERR_OK)
        rc = run_broker(config, on_started, &why);
    else
        config_free(&config);
    return rc == ERR_OK ? EXIT_SUCCESS : fail(why.text);
}

int main(int argc, char **argv)
{
    struct arguments a = {0};
    int status = parse_arguments(argc, argv, &a);

    if (status == GO_ON)
        status = a.only_check ? check_files(&a) : run(&a);
    props_fini(&a.overrides);
    mem_free(a.files);
    return status;
}
