/* Finished DNS answers, looked up and sent without Python.
 *
 * Two kinds: the cluster's (`node`: all answers of a name, until Python changes them) and those that the `cache` plugin
 * keeps (`kept`: one answer, until its time is over). What an answer says is decided in Python alone: here one is found
 * or not, and a name of a closed zone that is not found does not exist.
 *
 *   fast_table.c   which names of the cluster there are
 *   fast_kept.c    which answers are kept, and how old they are
 *   fast_answer.c  one query to one reply, or none when the query is not for here
 *   fast_serve.c   a socket, many datagrams a system call; every other query is handed to Python over a socket pair
 *
 * Plain C11 and libc; loaded by ctypes, so that one build serves every Python. Bytes from the network are read only
 * through offsets that were checked against the datagram's length.
 */
#ifndef FAIRWAY_FAST_H
#define FAIRWAY_FAST_H
#define _GNU_SOURCE /* recvmmsg: this header is included first */

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ZONES = 32, MAX_ROWS = 64, MAX_LABELS = 128, QUERY_SIZE = 4096, REPLY_SIZE = 4096 + 64, MIN_UDP = 512 };
enum { RECORD_SIZE = 12 }; /* of one without its data, whose name is a pointer */
enum { NODE_DEFER = 1, NODE_OPEN = 2 };
enum { ANSWER_CASE = 1, ANSWER_SHUFFLE = 2 };
enum { ZONE_CLOSED = 1 };
enum { KEPT_DO = 1, KEPT_CD = 2, KEPT_CAPITALS = 4 };                     /* of a key */
enum { KEPT_FIXED_TTL = 1, KEPT_DENIAL = 2 };          /* of an answer */
enum { NOERROR = 0, NXDOMAIN = 3, CD = 0x10, AD = 0x20, RD = 0x100, AA = 0x400, QR = 0x8000 };
enum { SECOND = 1000000000 }; /* nanoseconds */

/* What hangs in a chain of an index. */
typedef struct link {
  struct link *next;
  uint64_t hash;
  uint32_t size;
} link;

typedef struct {
  link **buckets;
  uint64_t mask, count, bytes;
} table_index;

/* A node as Python packs it, little endian:
 *   u16 key length, u8 zone, u8 flags, u8 answers, u8 children, key,
 *   answers: u16 type, u16 length, u16 answer, authority and additional records, u16 flags, body
 *   children: u8 length, labels in front of the key
 * The body stands behind the question, whose name is at offset 12: that is where its pointers lead. */
typedef struct {
  link link;
  uint8_t data[];
} node;

/* A kept answer as Python packs it, in this machine's byte order: this head, name (wire form, lower case), u16 places of
 * TTLs in the body, body. All seconds, but for the window's milliseconds; the body stands behind the question, as a
 * node's. */
typedef struct {
  uint64_t stored, last_hit; /* when, in nanoseconds of the monotonic clock */
  uint32_t ttl, stale_for, stale_ttl, prefetch_left, prefetch_window, hits;
  uint16_t name, places, body, type, bits, counts[3], row, prefetch_hits, shuffle_at, shuffle_stride, shuffle_count;
  uint8_t key_flags, flags, unused[4];
} kept_head;

typedef struct {
  link link;
  _Atomic uint64_t last_hit, refreshed; /* nanoseconds */
  _Atomic uint32_t hits;
  kept_head head;
  uint8_t data[];
} kept;

typedef struct {
  uint8_t name[256];
  uint16_t length, labels;
  uint32_t flags, ttl, minimum, serial, row;
} zone;

typedef struct fw_table {
  pthread_rwlock_t lock;
  table_index nodes, kept; /* from here on two tables can be exchanged */
  uint64_t seed;           /* of hashes: whoever chooses names shall not choose chains */
  uint32_t nzones, max_edns;
  zone zones[MAX_ZONES];
} fw_table;

typedef struct {
  uint8_t key[256];
  uint16_t starts[MAX_LABELS]; /* of each label, in the key */
  uint16_t length, labels, type, flags, end, edns_size;
  int has_upper, has_edns, dnssec_ok;
} query;

typedef struct {
  const uint8_t *body, *places;
  uint16_t length, counts[3], bits, shuffle_at, shuffle_stride, shuffle_count, nplaces;
  uint32_t ttl, row;
  const zone *denied_by;
  int is_kept, is_denial, is_stale, wants_refresh;
} found;

typedef struct { /* a datagram, where its reply goes, and what the reply depends on */
  const uint8_t *data;
  size_t size;
  uint8_t *out;
  size_t room;
  uint64_t now, *random;
} job;

static inline uint16_t le16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static inline uint16_t be16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static inline void put16(uint8_t *p, uint16_t v) { p[0] = (uint8_t)(v >> 8), p[1] = (uint8_t)v; }
static inline void put32(uint8_t *p, uint32_t v) { put16(p, (uint16_t)(v >> 16)), put16(p + 2, (uint16_t)v); }

static inline uint64_t hash_of(uint64_t seed, const uint8_t *p, size_t n) { /* FNV-1a, eight bytes at a time, mixed */
  uint64_t h = seed ^ n;
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

static inline uint64_t next_random(uint64_t *state) { /* xorshift64: the order of addresses is no secret */
  uint64_t x = *state;
  x ^= x << 13, x ^= x >> 7, x ^= x << 17;
  return *state = x;
}

static inline const uint8_t *key_of(const node *n) { return n->data + 6; }

/* fast_table.c */
int index_init(table_index *x);
void index_clear(table_index *x);
void index_add(table_index *x, link *one);
node **find_node(const fw_table *t, const uint8_t *key, size_t length);

/* fast_kept.c: the kept answer to a query, in `f`; -1 when there is none that may be given at `now`. */
int find_kept(const fw_table *t, const query *q, uint64_t now, found *f);

/* fast_answer.c: the reply's length, 0 when the query is Python's. The caller holds the table's lock. */
size_t answer(const fw_table *t, const job *j, query *q, found *f);

#endif
