/* Finished DNS answers, looked up and sent without Python.
 *
 * A table maps a name (wire form, lower case) to the answers that Python made for it. `fw_answer` turns one query into
 * one reply, or says that the query is not for it; `fw_serve` does so for a socket, many datagrams a system call, and
 * hands every other query to Python over a socket pair. What an answer says is decided in Python alone: here a name is
 * found or not, and a name of a closed zone that is not found does not exist.
 *
 * Plain C11 and libc; loaded by ctypes, so that one build serves every Python. Bytes from the network are read only
 * through offsets that were checked against the datagram's length.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { MAX_ZONES = 32, MAX_LABELS = 128, BATCH = 64, QUERY_SIZE = 4096, REPLY_SIZE = 4096 + 64, MIN_UDP = 512 };
enum { NODE_DEFER = 1, NODE_OPEN = 2 };
enum { ANSWER_CASE = 1, ANSWER_SHUFFLE = 2 };
enum { ZONE_CLOSED = 1 };
enum { NOERROR = 0, NXDOMAIN = 3 };
enum { TYPE_BUCKETS = 8, SIZE_BUCKETS = 15, TIME_BUCKETS = 17 };

/* A node as Python packs it, little endian:
 *   u16 key length, u8 zone, u8 flags, u8 answers, u8 children, key,
 *   answers: u16 type, u16 length, u16 answer, authority and additional records, u16 flags, body
 *   children: u8 length, labels in front of the key
 * The body stands behind the question, whose name is at offset 12: that is where its pointers lead. */
typedef struct node {
  struct node *next;
  uint64_t hash;
  uint32_t size;
  uint8_t data[];
} node;

typedef struct {
  uint8_t name[256];
  uint16_t length, labels;
  uint32_t flags, ttl, minimum, serial;
} zone;

typedef struct fw_table {
  pthread_rwlock_t lock;
  node **buckets;
  uint64_t mask, count, bytes;
  uint32_t nzones, max_edns;
  zone zones[MAX_ZONES];
} fw_table;

/* Written by one thread, read by others for metrics; a torn read costs one wrong number in one scrape. */
typedef struct {
  uint64_t requests[2][TYPE_BUCKETS], rcodes[16], do_requests, request_sizes[SIZE_BUCKETS], response_sizes[SIZE_BUCKETS],
      durations[TIME_BUCKETS], request_bytes, response_bytes, nanoseconds, handed_over, lost;
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
} origin; /* in front of each query that is handed to Python */

static uint16_t le16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static uint16_t be16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static void put16(uint8_t *p, uint16_t v) { p[0] = (uint8_t)(v >> 8), p[1] = (uint8_t)v; }
static void put32(uint8_t *p, uint32_t v) { put16(p, (uint16_t)(v >> 16)), put16(p + 2, (uint16_t)v); }

static uint64_t hash_of(const uint8_t *p, size_t n) { /* FNV-1a, eight bytes at a time, mixed at the end */
  uint64_t h = 0xcbf29ce484222325u ^ n;
  for (; n >= 8; p += 8, n -= 8) {
    uint64_t v;
    memcpy(&v, p, 8);
    h = (h ^ v) * 0x9e3779b97f4a7c15u;
    h ^= h >> 32;
  }
  for (; n; p++, n--) h = (h ^ *p) * 0x100000001b3u;
  h ^= h >> 29;
  return h * 0xbf58476d1ce4e5b9u;
}

/* -- table */

fw_table *fw_table_new(void) {
  fw_table *t = calloc(1, sizeof *t);
  if (!t) return NULL;
  pthread_rwlockattr_t attr;
  pthread_rwlockattr_init(&attr);
  pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
  pthread_rwlock_init(&t->lock, &attr);
  t->mask = 1023;
  t->buckets = calloc(t->mask + 1, sizeof *t->buckets);
  if (t->buckets) return t;
  free(t);
  return NULL;
}

static void clear(fw_table *t) {
  for (uint64_t i = 0; i <= t->mask; i++)
    for (node *n = t->buckets[i], *next; n; n = next) next = n->next, free(n);
  memset(t->buckets, 0, (t->mask + 1) * sizeof *t->buckets);
  t->count = t->bytes = 0;
}

void fw_table_free(fw_table *t) {
  clear(t);
  free(t->buckets);
  pthread_rwlock_destroy(&t->lock);
  free(t);
}

void fw_clear(fw_table *t) {
  pthread_rwlock_wrlock(&t->lock);
  clear(t);
  t->nzones = 0;
  pthread_rwlock_unlock(&t->lock);
}

/* Exchange contents: a table that was filled aside takes the place of one that is in use. */
void fw_swap(fw_table *a, fw_table *b) {
  pthread_rwlock_wrlock(&a->lock);
  size_t from = offsetof(fw_table, buckets), size = sizeof(fw_table) - from;
  uint8_t *kept = malloc(size);
  if (kept) {
    memcpy(kept, (uint8_t *)a + from, size);
    memcpy((uint8_t *)a + from, (uint8_t *)b + from, size);
    memcpy((uint8_t *)b + from, kept, size);
    free(kept);
  }
  pthread_rwlock_unlock(&a->lock);
}

static const uint8_t *key_of(const node *n) { return n->data + 6; }

static node **find(const fw_table *t, const uint8_t *key, size_t length, uint64_t hash) {
  node **at = &t->buckets[hash & t->mask];
  while (*at && !((*at)->hash == hash && le16((*at)->data) == length && !memcmp(key_of(*at), key, length)))
    at = &(*at)->next;
  return at;
}

static void grow(fw_table *t) {
  uint64_t mask = t->mask * 2 + 1;
  node **buckets = calloc(mask + 1, sizeof *buckets);
  if (!buckets) return; /* longer chains, nothing worse */
  for (uint64_t i = 0; i <= t->mask; i++)
    for (node *n = t->buckets[i], *next; n; n = next) {
      next = n->next;
      n->next = buckets[n->hash & mask];
      buckets[n->hash & mask] = n;
    }
  free(t->buckets);
  t->buckets = buckets;
  t->mask = mask;
}

static void drop(fw_table *t, const uint8_t *key, size_t length) {
  node **at = find(t, key, length, hash_of(key, length)), *n = *at;
  if (!n) return;
  *at = n->next;
  t->count--;
  t->bytes -= n->size;
  const uint8_t *p = key_of(n) + length;
  for (int i = n->data[4]; i; i--) p += 12 + le16(p + 2);
  for (int i = n->data[5]; i; i--, p += 1 + p[0]) {
    uint8_t child[512];
    memcpy(child, p + 1, p[0]);
    memcpy(child + p[0], key, length);
    drop(t, child, p[0] + length);
  }
  free(n);
}

/* Does a packed node keep to its own length? Python packs them, but memory safety shall not hang on that. */
static int is_sound(const uint8_t *data, uint32_t size) {
  if (size < 6 || le16(data) > 255 || 6u + le16(data) > size) return 0;
  uint32_t at = 6u + le16(data);
  for (int i = data[4]; i; i--) {
    if (at + 12 > size) return 0;
    at += 12u + le16(data + at + 2);
  }
  for (int i = data[5]; i; i--) {
    if (at + 1 > size) return 0;
    at += 1u + data[at];
  }
  return at == size;
}

/* Nodes one after the other, each with its length (u32) in front; a node replaces its namesake and that one's children.
 * Returns how many were taken. */
int64_t fw_put(fw_table *t, const uint8_t *data, uint64_t size) {
  int64_t taken = 0;
  pthread_rwlock_wrlock(&t->lock);
  for (uint64_t at = 0; at + 4 <= size;) {
    uint32_t length;
    memcpy(&length, data + at, 4);
    at += 4;
    if (length > size - at || !is_sound(data + at, length)) break;
    node *n = malloc(sizeof *n + length);
    if (!n) break;
    n->size = length;
    memcpy(n->data, data + at, length);
    at += length;
    drop(t, key_of(n), le16(n->data));
    n->hash = hash_of(key_of(n), le16(n->data));
    n->next = t->buckets[n->hash & t->mask];
    t->buckets[n->hash & t->mask] = n;
    t->bytes += length;
    if (++t->count > t->mask) grow(t);
    taken++;
  }
  pthread_rwlock_unlock(&t->lock);
  return taken;
}

void fw_delete(fw_table *t, const uint8_t *key, uint32_t length) {
  pthread_rwlock_wrlock(&t->lock);
  drop(t, key, length);
  pthread_rwlock_unlock(&t->lock);
}

int fw_zone(fw_table *t, uint32_t index, const uint8_t *name, uint32_t length, uint32_t flags, uint32_t ttl,
            uint32_t minimum, uint32_t serial) {
  if (index >= MAX_ZONES || length > 255 || !length) return -1;
  pthread_rwlock_wrlock(&t->lock);
  zone *z = &t->zones[index];
  memcpy(z->name, name, length);
  z->length = (uint16_t)length;
  z->labels = 0;
  for (uint32_t at = 0; at < length && name[at]; at += name[at] + 1u) z->labels++;
  z->flags = flags, z->ttl = ttl, z->minimum = minimum, z->serial = serial;
  if (index >= t->nzones) t->nzones = index + 1;
  pthread_rwlock_unlock(&t->lock);
  return 0;
}

/* Clients that can take larger replies than this are answered by Python; 0 for no limit. */
void fw_limit(fw_table *t, uint32_t max_edns) {
  pthread_rwlock_wrlock(&t->lock);
  t->max_edns = max_edns;
  pthread_rwlock_unlock(&t->lock);
}

uint64_t fw_count(const fw_table *t) { return t->count; }
uint64_t fw_bytes(const fw_table *t) { return t->bytes; }

/* -- one query */

typedef struct {
  uint8_t key[256];
  uint16_t starts[MAX_LABELS]; /* of each label, in the key */
  uint16_t length, labels, type, end, edns_size;
  int has_upper, has_edns, dnssec_ok;
} query;

/* 0 when it is a plain question of class IN, perhaps with an OPT record without options. */
static int parse(const uint8_t *data, size_t size, query *q) {
  if (size < 17 || data[2] & 0xF8 || be16(data + 4) != 1 || be16(data + 6) || be16(data + 8) || be16(data + 10) > 1)
    return -1;
  size_t at = 12;
  q->labels = 0, q->has_upper = 0;
  while (at < size && data[at]) {
    uint8_t length = data[at];
    if (length > 63 || at + length + 1u >= size || at - 12 + length + 1u > 254 || q->labels == MAX_LABELS) return -1;
    q->starts[q->labels++] = (uint16_t)(at - 12);
    q->key[at - 12] = length;
    for (size_t i = at + 1; i <= at + length; i++) {
      uint8_t c = data[i], is_upper = (uint8_t)(c - 'A') < 26;
      q->has_upper |= is_upper;
      q->key[i - 12] = (uint8_t)(c | is_upper << 5);
    }
    at += length + 1u;
  }
  if (at + 5 > size) return -1;
  q->key[at - 12] = 0;
  q->length = (uint16_t)(at - 12 + 1);
  q->type = be16(data + at + 1);
  q->end = (uint16_t)(at + 5);
  if (be16(data + at + 3) != 1) return -1;
  q->has_edns = be16(data + 10), q->edns_size = 0, q->dnssec_ok = 0;
  if (!q->has_edns) return 0;
  const uint8_t *opt = data + q->end;
  if (q->end + 11u > size || opt[0] || be16(opt + 1) != 41 || opt[6] || be16(opt + 9)) return -1;
  q->edns_size = be16(opt + 3);
  q->dnssec_ok = opt[7] >> 7;
  return 0;
}

/* Types whose absence is plain NODATA or NXDOMAIN; all others have rules of their own, which Python knows. */
static int is_plain(uint16_t type) {
  switch (type) {
    case 1: case 5: case 12: case 15: case 28: case 33: case 35: case 64: case 65: return 1;
    default: return 0;
  }
}

static const zone *zone_of(const fw_table *t, const query *q) {
  const zone *best = NULL;
  for (uint32_t i = 0; i < t->nzones; i++) {
    const zone *z = &t->zones[i];
    if (!z->labels || z->labels > q->labels || (best && best->labels >= z->labels)) continue;
    size_t at = q->starts[q->labels - z->labels];
    if (q->length - at == z->length && !memcmp(q->key + at, z->name, z->length)) best = z;
  }
  return best;
}

/* The zone's SOA record; names in it point to the zone's name in the question. */
static size_t write_soa(uint8_t *out, const zone *z, const query *q) {
  uint16_t where = (uint16_t)(0xC000 | (12 + q->length - z->length));
  static const uint8_t hostmaster[] = "\012hostmaster";
  put16(out, where), put16(out + 2, 6), put16(out + 4, 1), put32(out + 6, z->ttl), put16(out + 10, 42);
  memcpy(out + 12, "\002ns\003dns", 7), put16(out + 19, where);
  memcpy(out + 21, hostmaster, 11), put16(out + 32, where);
  put32(out + 34, z->serial), put32(out + 38, 7200), put32(out + 42, 1800), put32(out + 46, 86400);
  put32(out + 50, z->minimum);
  return 54;
}

static uint64_t next_random(uint64_t *state) { /* xorshift64: the order of addresses is no secret */
  uint64_t x = *state;
  x ^= x << 13, x ^= x >> 7, x ^= x << 17;
  return *state = x;
}

static void shuffle(uint8_t *records, size_t size, unsigned count, uint64_t *random) {
  uint8_t kept[32];
  size_t one = size / count;
  if (one > sizeof kept) return;
  for (unsigned i = count - 1; i; i--) {
    unsigned j = (unsigned)((next_random(random) >> 32) * (i + 1) >> 32);
    if (i == j) continue;
    memcpy(kept, records + i * one, one);
    memcpy(records + i * one, records + j * one, one);
    memcpy(records + j * one, kept, one);
  }
}

/* Does the name not exist, as far as the closed zone's names say? -1: ask Python. */
static int is_missing(const fw_table *t, const zone *z, const query *q) {
  unsigned relative = (unsigned)(q->labels - z->labels);
  if (!(z->flags & ZONE_CLOSED) || !relative) return -1;
  const uint8_t *last = q->key + q->starts[relative - 1];
  if (!memcmp(last, "\003pod", 4)) return -1;
  if (memcmp(last, "\003svc", 4) || relative <= 3) return 1;
  size_t at = q->starts[relative - 3]; /* service.namespace.svc */
  return *find(t, q->key + at, q->length - at, hash_of(q->key + at, q->length - at)) ? -1 : 1;
}

typedef struct {
  const uint8_t *body;
  uint16_t length, counts[3], flags;
  int rcode;
  const zone *denied_by;
} found;

static int look_up(const fw_table *t, const query *q, found *f) {
  memset(f, 0, sizeof *f);
  const node *n = *find(t, q->key, q->length, hash_of(q->key, q->length));
  if (!n) {
    f->denied_by = is_plain(q->type) ? zone_of(t, q) : NULL;
    f->rcode = NXDOMAIN;
    return f->denied_by && is_missing(t, f->denied_by, q) == 1 ? 0 : -1;
  }
  if (n->data[3] & NODE_DEFER) return -1;
  const uint8_t *p = key_of(n) + q->length;
  for (int i = n->data[4]; i; i--, p += 12 + le16(p + 2))
    if (le16(p) == q->type) {
      f->body = p + 12, f->length = le16(p + 2), f->flags = le16(p + 10);
      for (int k = 0; k < 3; k++) f->counts[k] = le16(p + 4 + 2 * k);
      return f->flags & ANSWER_CASE && q->has_upper ? -1 : 0;
    }
  if (n->data[3] & NODE_OPEN || !is_plain(q->type) || n->data[2] >= t->nzones) return -1;
  f->denied_by = &t->zones[n->data[2]];
  return 0;
}

/* The caller holds the table's lock. Returns the reply's length, 0 when the query is Python's. */
static size_t answer(const fw_table *t, const uint8_t *data, size_t size, uint8_t *out, size_t room,
                     uint64_t *random, query *q, found *f) {
  if (!t->nzones || parse(data, size, q) || (t->max_edns && q->edns_size > t->max_edns) || look_up(t, q, f)) return 0;
  size_t limit = q->edns_size > MIN_UDP ? q->edns_size : MIN_UDP, edns = q->has_edns ? 11 : 0;
  size_t body = f->denied_by ? 54 : f->length, total = q->end + body + edns;
  if (total > limit || total > room) return 0;
  memcpy(out, data, q->end);
  put16(out + 2, (uint16_t)(0x8400 | (be16(data + 2) & 0x0110) | f->rcode)); /* QR, AA; RD and CD as asked */
  if (f->denied_by) {
    put16(out + 6, 0), put16(out + 8, 1), put16(out + 10, (uint16_t)q->has_edns);
    write_soa(out + q->end, f->denied_by, q);
  } else {
    put16(out + 6, f->counts[0]), put16(out + 8, f->counts[1]), put16(out + 10, (uint16_t)(f->counts[2] + q->has_edns));
    memcpy(out + q->end, f->body, f->length);
    if (f->flags & ANSWER_SHUFFLE && f->counts[0] > 1) shuffle(out + q->end, f->length, f->counts[0], random);
  }
  if (edns) {
    uint8_t *opt = out + q->end + body;
    memset(opt, 0, 11);
    put16(opt + 1, 41), put16(opt + 3, q->edns_size);
    opt[7] = (uint8_t)(q->dnssec_ok << 7);
  }
  return total;
}

size_t fw_answer(fw_table *t, const uint8_t *data, size_t size, uint8_t *out, size_t room, uint64_t seed) {
  query q;
  found f;
  uint64_t random = seed | 1;
  pthread_rwlock_rdlock(&t->lock);
  size_t length = answer(t, data, size, out, room, &random, &q, &f);
  pthread_rwlock_unlock(&t->lock);
  return length;
}

/* -- a socket */

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

static void count(fw_stats *s, const query *q, const found *f, size_t asked, size_t replied, int family) {
  s->requests[family == AF_INET6][type_bucket(q->type)]++;
  s->rcodes[f->rcode & 15]++;
  s->do_requests += (uint64_t)q->dnssec_ok;
  s->request_sizes[size_bucket(asked)]++, s->response_sizes[size_bucket(replied)]++;
  s->request_bytes += asked, s->response_bytes += replied;
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

static void hand_over(fw_server *s, struct msghdr *m, const struct sockaddr_in6 *from, size_t size) {
  origin o = {.index = (uint32_t)s->index, .family = from->sin6_family, .port = ntohs(from->sin6_port)};
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

static void serve_batch(fw_server *s, batch *b, int n) {
  uint64_t start = nanoseconds();
  int replies = 0;
  uint8_t odd[BATCH] = {0};
  pthread_rwlock_rdlock(&s->table->lock);
  for (int i = 0; i < n; i++) {
    query q;
    found f;
    size_t size = b->in[i].msg_len;
    size_t length = answer(s->table, b->queries[i], size, b->replies[replies], REPLY_SIZE, &s->random, &q, &f);
    if (!length) {
      odd[i] = 1;
      continue;
    }
    count(&s->stats, &q, &f, size, length, client_family(&b->clients[i]));
    b->out_parts[replies] = (struct iovec){b->replies[replies], length};
    struct msghdr *in = &b->in[i].msg_hdr, *out = &b->out[replies].msg_hdr;
    *out = *in;
    out->msg_iov = &b->out_parts[replies];
    turn_control(out);
    replies++;
  }
  pthread_rwlock_unlock(&s->table->lock);
  for (int sent = 0; sent < replies;) {
    int r = sendmmsg(s->fd, b->out + sent, (unsigned)(replies - sent), 0);
    sent += r > 0 ? r : 1; /* a reply that cannot be sent is lost alone */
  }
  for (int i = 0; i < n; i++)
    if (odd[i]) hand_over(s, &b->in[i].msg_hdr, &b->clients[i], b->in[i].msg_len);
  uint64_t spent = (nanoseconds() - start) / (uint64_t)n, bound = 250000;
  int bucket = 0;
  while (bucket < TIME_BUCKETS - 1 && spent > bound) bound *= 2, bucket++;
  s->stats.durations[bucket] += (uint64_t)replies;
  s->stats.nanoseconds += spent * (uint64_t)replies;
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
