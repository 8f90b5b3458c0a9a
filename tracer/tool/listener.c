/* SPDX-License-Identifier: MIT */
#include "tracer/tool/listener.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tracer/tool/procfs.h"

#define BACKLOG 4096 /* a thousand children may start at once; a full queue would make them wait */

static bool bind_and_listen(const char *path, int *ret)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        return false;
    }
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    mode_t mask = umask(0177); /* the socket is ours alone from its first moment on */
    bool ok = bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    umask(mask);
    if (ok && listen(fd, BACKLOG) == 0) {
        *ret = fd;
        return true;
    }
    int saved = errno;
    if (ok)
        unlink(path);
    close(fd);
    errno = saved;
    return false;
}

/* The socket's path travels in HEAPTALLY=..., where ':' ends a value, and must fit in a sun_path. */
static bool base_is_usable(const char *base)
{
    return base && base[0] == '/' && strlen(base) < 60 && !strchr(base, ':');
}

static bool make_directory(struct listener *ret, char *error, size_t error_size)
{
    const char *base = getenv("TMPDIR");
    *ret = (struct listener){.fd = -1, .place = -1};
    if (!base_is_usable(base))
        base = "/tmp";
    snprintf(ret->directory, sizeof(ret->directory), "%s/heaptally-XXXXXX", base);
    if (!mkdtemp(ret->directory)) {
        snprintf(error, error_size, "no private directory in %s: %s (TMPDIR names another place)", base,
                 strerror(errno));
        ret->directory[0] = '\0';
    }
    return ret->directory[0] != '\0';
}

bool listener_open_private(struct listener *ret, char *error, size_t error_size)
{
    if (!make_directory(ret, error, error_size))
        return false;
    snprintf(ret->path, sizeof(ret->path), "%s/socket", ret->directory);
    if (bind_and_listen(ret->path, &ret->fd))
        return true;
    snprintf(error, error_size, "no socket in %s: %s (TMPDIR names another place)", ret->directory,
             strerror(errno));
    listener_close(ret);
    return false;
}

/* A datagram socket cannot connect to a listening one. How it is refused tells whether somebody listens, and
 * he notices nothing. */
static bool somebody_listens(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool refused = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0;
    bool listens = refused && errno == EPROTOTYPE;
    if (fd >= 0)
        close(fd);
    return listens;
}

/* A socket that an earlier snapshot left behind may go, somebody else's file may not. */
static void remove_own_leftover(const char *path)
{
    struct stat st;
    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) && (st.st_uid == geteuid() || geteuid() == 0))
        unlink(path);
}

bool listener_open_for_process(int pid, struct listener *ret, char *error, size_t error_size)
{
    char root[64];
    uid_t uid;
    gid_t gid;
    int parent;

    if (!make_directory(ret, error, error_size))
        return false;
    /* Through /proc we reach its /tmp also when it lives in another mount namespace or in a chroot. */
    snprintf(root, sizeof(root), "/proc/%d/task/%d/root/tmp", pid, procfs_living_thread(pid));
    if (access(root, W_OK) != 0)
        snprintf(root, sizeof(root), "/tmp");
    snprintf(ret->path, sizeof(ret->path), "%s/.heaptally-%d", root, procfs_inner_pid(pid));
    ret->place = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (somebody_listens(ret->path)) {
        snprintf(error, error_size, "another snapshot of process %d is being taken; try again", pid);
        ret->path[0] = '\0'; /* it is the other's */
        listener_close(ret);
        return false;
    }
    remove_own_leftover(ret->path);
    if (!bind_and_listen(ret->path, &ret->fd)) {
        snprintf(error, error_size, "no socket at %s: %s", ret->path, strerror(errno));
        ret->path[0] = '\0';
        listener_close(ret);
        return false;
    }
    if (geteuid() == 0 && procfs_ids(pid, &uid, &gid, &parent) && lchown(ret->path, uid, gid) != 0) {
        snprintf(error, error_size, "socket %s cannot be given to user %u: %s", ret->path, uid,
                 strerror(errno));
        listener_close(ret);
        return false;
    }
    return true;
}

static void remove_directory(const char *path)
{
    DIR *dir = opendir(path);
    if (dir) {
        for (struct dirent *e; (e = readdir(dir));)
            if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
                unlinkat(dirfd(dir), e->d_name, 0);
        closedir(dir);
    }
    rmdir(path);
}

void listener_shut(struct listener *listener)
{
    if (listener->fd >= 0)
        close(listener->fd);
    if (listener->path[0] && listener->place >= 0)
        unlinkat(listener->place, strrchr(listener->path, '/') + 1, 0);
    else if (listener->path[0])
        unlink(listener->path);
    if (listener->place >= 0)
        close(listener->place);
    listener->fd = listener->place = -1;
    listener->path[0] = '\0';
}

void listener_close(struct listener *listener)
{
    listener_shut(listener);
    if (listener->directory[0])
        remove_directory(listener->directory);
    *listener = (struct listener){.fd = -1, .place = -1};
}

int listener_accept(const struct listener *listener, int *ret_pid, unsigned *ret_uid)
{
    struct ucred peer = {0};
    socklen_t length = sizeof(peer);
    int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return -1;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) {
        close(fd);
        errno = EAGAIN;
        return -1;
    }
    *ret_pid = peer.pid;
    *ret_uid = peer.uid;
    return fd;
}
