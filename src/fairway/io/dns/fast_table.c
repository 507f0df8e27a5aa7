/* Which names of the cluster there are: nodes by name, and zones. One thread writes, under the table's lock. */
#include "fast.h"

/* -- an index of anything that has a hash */

int index_init(table_index *x) {
  x->mask = 1023, x->count = x->bytes = 0;
  x->buckets = calloc(x->mask + 1, sizeof(link *));
  return x->buckets ? 0 : -1;
}

void index_clear(table_index *x) {
  for (uint64_t i = 0; i <= x->mask; i++)
    for (link *n = x->buckets[i], *next; n; n = next) next = n->next, free(n);
  memset(x->buckets, 0, (x->mask + 1) * sizeof(link *));
  x->count = x->bytes = 0;
}

static void grow(table_index *x) {
  uint64_t mask = x->mask * 2 + 1;
  link **buckets = calloc(mask + 1, sizeof *buckets);
  if (!buckets) return; /* longer chains, nothing worse */
  for (uint64_t i = 0; i <= x->mask; i++)
    for (link *n = x->buckets[i], *next; n; n = next) {
      next = n->next;
      n->next = buckets[n->hash & mask];
      buckets[n->hash & mask] = n;
    }
  free(x->buckets);
  x->buckets = buckets;
  x->mask = mask;
}

void index_add(table_index *x, link *one) {
  one->next = x->buckets[one->hash & x->mask];
  x->buckets[one->hash & x->mask] = one;
  x->bytes += one->size;
  if (++x->count > x->mask) grow(x);
}

/* -- a table */

fw_table *fw_table_new(uint64_t seed) {
  fw_table *t = calloc(1, sizeof *t);
  if (!t) return NULL;
  pthread_rwlockattr_t attr;
  pthread_rwlockattr_init(&attr);
  pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
  pthread_rwlock_init(&t->lock, &attr);
  t->seed = seed;
  if (!index_init(&t->nodes) && !index_init(&t->kept)) return t;
  free(t->nodes.buckets);
  free(t);
  return NULL;
}

void fw_table_free(fw_table *t) {
  index_clear(&t->nodes), index_clear(&t->kept);
  free(t->nodes.buckets), free(t->kept.buckets);
  pthread_rwlock_destroy(&t->lock);
  free(t);
}

void fw_clear(fw_table *t) {
  pthread_rwlock_wrlock(&t->lock);
  index_clear(&t->nodes), index_clear(&t->kept);
  t->nzones = 0;
  pthread_rwlock_unlock(&t->lock);
}

/* Exchange contents: a table that was filled aside takes the place of one that is in use. */
void fw_swap(fw_table *a, fw_table *b) {
  pthread_rwlock_wrlock(&a->lock);
  size_t from = offsetof(fw_table, nodes), size = sizeof(fw_table) - from;
  uint8_t *kept = malloc(size);
  if (kept) {
    memcpy(kept, (uint8_t *)a + from, size);
    memcpy((uint8_t *)a + from, (uint8_t *)b + from, size);
    memcpy((uint8_t *)b + from, kept, size);
    free(kept);
  }
  pthread_rwlock_unlock(&a->lock);
}

uint64_t fw_count(const fw_table *t) { return t->nodes.count; }
uint64_t fw_bytes(const fw_table *t) { return t->nodes.bytes; }

/* -- nodes */

node **find_node(const fw_table *t, const uint8_t *key, size_t length) {
  uint64_t hash = hash_of(t->seed, key, length);
  link **at = &t->nodes.buckets[hash & t->nodes.mask];
  for (; *at; at = &(*at)->next) {
    const node *n = (const node *)*at;
    if (n->link.hash == hash && le16(n->data) == length && !memcmp(key_of(n), key, length)) break;
  }
  return (node **)at;
}

static void drop(fw_table *t, const uint8_t *key, size_t length) {
  node **at = find_node(t, key, length), *n = *at;
  if (!n) return;
  *at = (node *)n->link.next;
  t->nodes.count--;
  t->nodes.bytes -= n->link.size;
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
    n->link.size = length;
    memcpy(n->data, data + at, length);
    at += length;
    drop(t, key_of(n), le16(n->data));
    n->link.hash = hash_of(t->seed, key_of(n), le16(n->data));
    index_add(&t->nodes, &n->link);
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

/* -- zones */

/* `row`: where answers of the zone are counted. */
int fw_zone(fw_table *t, uint32_t index, const uint8_t *name, uint32_t length, uint32_t flags, uint32_t ttl,
            uint32_t minimum, uint32_t serial, uint32_t row) {
  if (index >= MAX_ZONES || length > 255 || !length || row >= MAX_ROWS) return -1;
  pthread_rwlock_wrlock(&t->lock);
  zone *z = &t->zones[index];
  memcpy(z->name, name, length);
  z->length = (uint16_t)length;
  z->labels = 0;
  for (uint32_t at = 0; at < length && name[at]; at += name[at] + 1u) z->labels++;
  z->flags = flags, z->ttl = ttl, z->minimum = minimum, z->serial = serial, z->row = row;
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
