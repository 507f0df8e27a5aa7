/* Which answers are kept, and how old they are: what the `cache` plugin has given to one client, for the next one.
 *
 * Python decides what is kept, for how long, and what goes when there are too many. Here an answer's age is known: it is
 * given with the time that it has left, and not at all once that is over, unless a stale one may be. The client that
 * makes a fresh one due is answered all the same, and its query goes to Python too.
 */
#include "fast.h"

static uint64_t hash_key(const fw_table *t, const uint8_t *name, size_t length, uint16_t type, unsigned flags) {
  return hash_of(t->seed ^ ((uint64_t)type << 8 | flags), name, length);
}

static kept **find(const fw_table *t, const uint8_t *name, size_t length, uint16_t type, unsigned flags) {
  uint64_t hash = hash_key(t, name, length, type, flags);
  link **at = &t->kept.buckets[hash & t->kept.mask];
  for (; *at; at = &(*at)->next) {
    const kept *k = (const kept *)*at;
    if (k->link.hash == hash && k->head.type == type && k->head.key_flags == flags && k->head.name == length &&
        !memcmp(k->data, name, length))
      break;
  }
  return (kept **)at;
}

static void forget(fw_table *t, kept **at) {
  kept *k = *at;
  *at = (kept *)k->link.next;
  t->kept.count--;
  t->kept.bytes -= k->link.size;
  free(k);
}

/* Does a packed answer keep to its own length? As with nodes. */
static int is_sound(const kept_head *h, const uint8_t *rest, size_t size) {
  if (!h->name || h->name > 255 || h->row >= MAX_ROWS || h->name + 2u * h->places + h->body != size) return 0;
  if (12u + h->name + 4 + h->body + 11 > REPLY_SIZE) return 0;
  for (unsigned i = 0; i < h->places; i++) {
    uint16_t place;
    memcpy(&place, rest + h->name + 2 * i, 2);
    if (place + 4u > h->body) return 0;
  }
  return h->shuffle_at + (uint32_t)h->shuffle_stride * h->shuffle_count <= h->body + (uint32_t)RECORD_SIZE;
}

/* Take one packed answer in the place of the one with its key. 0, or -1. */
int fw_keep(fw_table *t, const uint8_t *data, uint32_t size) {
  kept_head head;
  if (size < sizeof head) return -1;
  memcpy(&head, data, sizeof head);
  const uint8_t *rest = data + sizeof head;
  uint32_t length = size - (uint32_t)sizeof head;
  if (!is_sound(&head, rest, length)) return -1;
  kept *k = malloc(sizeof *k + length);
  if (!k) return -1;
  k->link.size = (uint32_t)sizeof *k + length;
  k->head = head;
  memcpy(k->data, rest, length);
  atomic_init(&k->hits, head.hits), atomic_init(&k->last_hit, head.last_hit), atomic_init(&k->refreshed, 0);
  pthread_rwlock_wrlock(&t->lock);
  kept **old = find(t, k->data, head.name, head.type, head.key_flags);
  if (*old) forget(t, old);
  k->link.hash = hash_key(t, k->data, head.name, head.type, head.key_flags);
  index_add(&t->kept, &k->link);
  pthread_rwlock_unlock(&t->lock);
  return 0;
}

void fw_forget(fw_table *t, const uint8_t *name, uint32_t length, uint32_t type, uint32_t key_flags) {
  pthread_rwlock_wrlock(&t->lock);
  kept **at = find(t, name, length, (uint16_t)type, key_flags);
  if (*at) forget(t, at);
  pthread_rwlock_unlock(&t->lock);
}

uint64_t fw_kept_count(const fw_table *t) { return t->kept.count; }
uint64_t fw_kept_bytes(const fw_table *t) { return t->kept.bytes; }

/* Asked often enough, and near its end? Threads may lose a hit to each other: it is a rule of thumb. */
static int is_prefetch_due(kept *k, uint64_t now, int64_t left) {
  const kept_head *h = &k->head;
  uint64_t last = atomic_load_explicit(&k->last_hit, memory_order_relaxed);
  uint32_t hits = atomic_load_explicit(&k->hits, memory_order_relaxed);
  if (now > last && now - last > (uint64_t)h->prefetch_window * 1000000u) hits = 0;
  atomic_store_explicit(&k->last_hit, now, memory_order_relaxed);
  atomic_store_explicit(&k->hits, ++hits, memory_order_relaxed);
  return hits >= h->prefetch_hits && left <= (int64_t)h->prefetch_left;
}

/* One caller a second gets to ask for a fresh answer: a request that was lost on the way is made again. */
static int claim_refresh(kept *k, uint64_t now) {
  uint64_t last = atomic_load(&k->refreshed);
  return (!last || now >= last + SECOND) && atomic_compare_exchange_strong(&k->refreshed, &last, now);
}

int find_kept(const fw_table *t, const query *q, uint64_t now, found *f) {
  if (!t->kept.count) return -1;
  /* The body of an answer to a question with capitals does not point to the question: its own spelling is another. */
  unsigned flags = (q->dnssec_ok ? KEPT_DO : 0u) | (q->flags & CD ? KEPT_CD : 0u) | (q->has_upper ? KEPT_CAPITALS : 0u);
  kept *k = *find(t, q->key, q->length, q->type, flags);
  if (!k) return -1;
  const kept_head *h = &k->head;
  int64_t left = (int64_t)h->ttl - (now > h->stored ? (int64_t)((now - h->stored) / SECOND) : 0);
  if (left <= 0 && -left >= (int64_t)h->stale_for) return -1;
  f->is_kept = 1, f->is_stale = left <= 0, f->is_denial = h->flags & KEPT_DENIAL;
  f->ttl = left <= 0 ? h->stale_ttl : h->flags & KEPT_FIXED_TTL ? h->ttl : (uint32_t)left;
  if (left <= 0 || (h->prefetch_hits && is_prefetch_due(k, now, left))) f->wants_refresh = claim_refresh(k, now);
  f->bits = q->dnssec_ok || q->flags & AD ? h->bits : (uint16_t)(h->bits & ~AD); /* RFC 6840, sections 5.7 and 5.8 */
  f->places = k->data + h->name, f->nplaces = h->places;
  f->body = f->places + 2 * h->places, f->length = h->body;
  f->shuffle_at = h->shuffle_at, f->shuffle_stride = h->shuffle_stride, f->shuffle_count = h->shuffle_count;
  for (int i = 0; i < 3; i++) f->counts[i] = h->counts[i];
  f->row = h->row;
  return 0;
}
