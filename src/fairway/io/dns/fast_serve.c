/* A socket: many datagrams a system call, answered here or handed to Python; and what was answered, counted. */
#include "fast.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCH = 64, TYPE_BUCKETS = 8, SIZE_BUCKETS = 15, TIME_BUCKETS = 17 };
enum { ASK_ANSWER = 0, ASK_REFRESH = 1 };

/* Answers that metrics call by the same labels. Written by one thread, read by others; a torn read costs one wrong number
 * in one scrape. */
typedef struct {
  uint64_t requests[2][TYPE_BUCKETS], rcodes[16], do_requests, request_sizes[SIZE_BUCKETS], response_sizes[SIZE_BUCKETS],
      durations[TIME_BUCKETS], request_bytes, response_bytes, nanoseconds, hits[2], stale; /* hits: not denials, denials */
} fw_row;

typedef struct {
  fw_row rows[MAX_ROWS];
  uint64_t handed_over, lost;
} fw_stats;

typedef struct {
  fw_table *table;
  int fd, slow_fd, index;
  uint64_t random;
  fw_stats stats;
  _Atomic int stop;
} fw_server;

typedef struct {
  uint32_t index;
  uint16_t family, port;
  uint8_t client[16], local[16];
  uint32_t scope, interface;
  uint16_t wanted, row;
} origin; /* in front of each query that is handed to Python */

static int type_bucket(uint16_t type) {
  switch (type) {
    case 1: return 0;
    case 28: return 1;
    case 33: return 2;
    case 12: return 3;
    case 15: return 4;
    case 65: return 5;
    case 5: return 6;
    default: return 7;
  }
}

static int size_bucket(size_t size) {
  static const unsigned bounds[SIZE_BUCKETS - 1] = {0,    100,  200,  300,  400,   511,   1023,
                                                    2047, 4095, 8291, 16000, 32000, 48000, 64000};
  int i = 0;
  while (i < SIZE_BUCKETS - 1 && size > bounds[i]) i++;
  return i;
}

static void count(fw_row *r, const query *q, const found *f, size_t asked, size_t replied, int family) {
  r->requests[family == AF_INET6][type_bucket(q->type)]++;
  r->rcodes[f->bits & 15]++;
  r->do_requests += (uint64_t)q->dnssec_ok;
  r->request_sizes[size_bucket(asked)]++, r->response_sizes[size_bucket(replied)]++;
  r->request_bytes += asked, r->response_bytes += replied;
  if (f->is_kept) r->hits[f->is_denial != 0]++, r->stale += (uint64_t)f->is_stale;
}

static void count_time(fw_stats *s, const uint8_t *replies, uint64_t spent) {
  uint64_t bound = 250000;
  int bucket = 0;
  while (bucket < TIME_BUCKETS - 1 && spent > bound) bound *= 2, bucket++;
  for (int i = 0; i < MAX_ROWS; i++)
    if (replies[i]) s->rows[i].durations[bucket] += replies[i], s->rows[i].nanoseconds += spent * replies[i];
}

typedef struct {
  struct mmsghdr in[BATCH], out[BATCH];
  struct iovec in_parts[BATCH], out_parts[BATCH];
  struct sockaddr_in6 clients[BATCH];
  uint8_t controls[BATCH][64] __attribute__((aligned(8)));
  uint8_t queries[BATCH][QUERY_SIZE], replies[BATCH][REPLY_SIZE];
} batch;

static int client_family(const struct sockaddr_in6 *a) {
  return a->sin6_family == AF_INET || IN6_IS_ADDR_V4MAPPED(&a->sin6_addr) ? AF_INET : AF_INET6;
}

/* Keep the local address that was asked, as the reply's source; drop the interface unless the address needs it. */
static void turn_control(struct msghdr *m) {
  for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
    if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
      struct in6_pktinfo *p = (struct in6_pktinfo *)CMSG_DATA(c);
      if (!IN6_IS_ADDR_LINKLOCAL(&p->ipi6_addr)) p->ipi6_ifindex = 0;
    } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
      struct in_pktinfo *p = (struct in_pktinfo *)CMSG_DATA(c);
      p->ipi_spec_dst = p->ipi_addr;
      p->ipi_ifindex = 0;
    }
  }
}

static void hand_over(fw_server *s, struct msghdr *m, const struct sockaddr_in6 *from, size_t size, int wanted, int row) {
  origin o = {.index = (uint32_t)s->index, .family = from->sin6_family, .port = ntohs(from->sin6_port),
              .wanted = (uint16_t)wanted, .row = (uint16_t)row};
  if (from->sin6_family == AF_INET6) {
    memcpy(o.client, &from->sin6_addr, 16);
    o.scope = from->sin6_scope_id;
  } else {
    memcpy(o.client, &((const struct sockaddr_in *)(const void *)from)->sin_addr, 4);
  }
  for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
    if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
      memcpy(o.local, CMSG_DATA(c), 16);
      memcpy(&o.interface, CMSG_DATA(c) + 16, 4);
    } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
      memcpy(o.local, &((struct in_pktinfo *)CMSG_DATA(c))->ipi_addr, 4);
    }
  }
  struct iovec parts[2] = {{&o, sizeof o}, {m->msg_iov->iov_base, size}};
  struct msghdr out = {.msg_iov = parts, .msg_iovlen = 2};
  if (sendmsg(s->slow_fd, &out, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
    s->stats.lost++; /* Python is behind: like a full socket buffer, the client asks again */
  else
    s->stats.handed_over++;
}

static uint64_t nanoseconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void send_all(int fd, struct mmsghdr *out, int count) {
  for (int sent = 0; sent < count;) {
    int r = sendmmsg(fd, out + sent, (unsigned)(count - sent), 0);
    sent += r > 0 ? r : 1; /* a reply that cannot be sent is lost alone */
  }
}

static void serve_batch(fw_server *s, batch *b, int n) {
  uint64_t start = nanoseconds();
  int replies = 0;
  int16_t left[BATCH];          /* to Python: -1 for an answer, a row for a refresh, -2 for nothing */
  uint8_t by_row[MAX_ROWS] = {0}; /* replies: at most a batch */
  pthread_rwlock_rdlock(&s->table->lock);
  for (int i = 0; i < n; i++) {
    query q;
    found f;
    size_t size = b->in[i].msg_len;
    job j = {b->queries[i], size, b->replies[replies], REPLY_SIZE, start, &s->random};
    size_t length = answer(s->table, &j, &q, &f);
    left[i] = length ? f.wants_refresh ? (int16_t)f.row : -2 : -1;
    if (!length) continue;
    count(&s->stats.rows[f.row], &q, &f, size, length, client_family(&b->clients[i]));
    by_row[f.row]++;
    b->out_parts[replies] = (struct iovec){b->replies[replies], length};
    struct msghdr *in = &b->in[i].msg_hdr, *out = &b->out[replies].msg_hdr;
    *out = *in;
    out->msg_iov = &b->out_parts[replies];
    turn_control(out);
    replies++;
  }
  pthread_rwlock_unlock(&s->table->lock);
  send_all(s->fd, b->out, replies);
  for (int i = 0; i < n; i++)
    if (left[i] != -2)
      hand_over(s, &b->in[i].msg_hdr, &b->clients[i], b->in[i].msg_len, left[i] < 0 ? ASK_ANSWER : ASK_REFRESH,
                left[i] < 0 ? 0 : left[i]);
  count_time(&s->stats, by_row, (nanoseconds() - start) / (uint64_t)n);
}

fw_server *fw_server_new(fw_table *table, int fd, int slow_fd, int index, uint64_t seed) {
  fw_server *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  s->table = table, s->fd = fd, s->slow_fd = slow_fd, s->index = index, s->random = seed | 1;
  return s;
}

void fw_server_free(fw_server *s) { free(s); }
void fw_server_stats(const fw_server *s, fw_stats *out) { *out = s->stats; }
uint64_t fw_stats_size(void) { return sizeof(fw_stats); }

void fw_stop(fw_server *s) {
  atomic_store(&s->stop, 1);
  shutdown(s->fd, SHUT_RD); /* wakes a thread that waits in recvmmsg */
}

/* Serve until stopped; returns 0, or the errno that ended it. */
int fw_serve(fw_server *s) {
  batch *b = calloc(1, sizeof *b);
  if (!b) return ENOMEM;
  int failed = 0, used = BATCH; /* headers to make ready again */
  while (!atomic_load(&s->stop)) {
    for (int i = 0; i < used; i++) {
      b->in_parts[i] = (struct iovec){b->queries[i], QUERY_SIZE};
      b->in[i].msg_hdr = (struct msghdr){.msg_name = &b->clients[i], .msg_namelen = sizeof b->clients[i],
                                         .msg_iov = &b->in_parts[i], .msg_iovlen = 1,
                                         .msg_control = b->controls[i], .msg_controllen = sizeof b->controls[i]};
    }
    int n = recvmmsg(s->fd, b->in, BATCH, MSG_WAITFORONE, NULL);
    used = n > 0 ? n : 0;
    if (n > 0) {
      serve_batch(s, b, n);
    } else if (n < 0 && errno != EINTR && errno != EAGAIN && errno != ECONNREFUSED && errno != ENETUNREACH &&
               errno != EHOSTUNREACH) {
      failed = errno;
      break;
    }
  }
  free(b);
  return atomic_load(&s->stop) ? 0 : failed;
}
