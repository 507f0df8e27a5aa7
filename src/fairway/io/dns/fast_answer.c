/* One query to one reply: what of it is looked up, which answer it is, and how that is written. */
#include "fast.h"

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
  q->flags = be16(data + 2);
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

/* Addresses of one name and type, `stride` bytes from one to the next: all between them is the same for each. */
static void shuffle(uint8_t *addresses, size_t stride, unsigned count, uint64_t *random) {
  uint8_t kept[16];
  if (count < 2 || stride <= RECORD_SIZE || stride > RECORD_SIZE + sizeof kept) return;
  size_t width = stride - RECORD_SIZE;
  for (unsigned i = count - 1; i; i--) {
    unsigned j = (unsigned)((next_random(random) >> 32) * (i + 1) >> 32);
    if (i == j) continue;
    memcpy(kept, addresses + i * stride, width);
    memcpy(addresses + i * stride, addresses + j * stride, width);
    memcpy(addresses + j * stride, kept, width);
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
  return *find_node(t, q->key + at, q->length - at) ? -1 : 1;
}

/* The zone's denial. */
static int deny(const zone *z, uint16_t rcode, found *f) {
  f->denied_by = z, f->bits = (uint16_t)(AA | rcode), f->row = z->row;
  return 0;
}

/* What a node says; -1 for what Python, or a kept answer, has to say. */
static int look_up(const fw_table *t, const query *q, found *f) {
  if (!t->nzones) return -1;
  const node *n = *find_node(t, q->key, q->length);
  if (!n) {
    const zone *z = is_plain(q->type) ? zone_of(t, q) : NULL;
    return z && is_missing(t, z, q) == 1 ? deny(z, NXDOMAIN, f) : -1;
  }
  if (n->data[3] & NODE_DEFER || n->data[2] >= t->nzones) return -1;
  const uint8_t *p = key_of(n) + q->length;
  for (int i = n->data[4]; i; i--, p += 12 + le16(p + 2))
    if (le16(p) == q->type) {
      uint16_t flags = le16(p + 10);
      for (int k = 0; k < 3; k++) f->counts[k] = le16(p + 4 + 2 * k);
      f->body = p + 12, f->length = le16(p + 2), f->bits = AA, f->row = t->zones[n->data[2]].row;
      if (flags & ANSWER_SHUFFLE && f->counts[0])
        f->shuffle_at = RECORD_SIZE, f->shuffle_count = f->counts[0], f->shuffle_stride = f->length / f->counts[0];
      return flags & ANSWER_CASE && q->has_upper ? -1 : 0;
    }
  return n->data[3] & NODE_OPEN || !is_plain(q->type) ? -1 : deny(&t->zones[n->data[2]], NOERROR, f);
}

/* Records of a node or a kept answer: the latter with their TTLs as of now. */
static void write_records(uint8_t *out, const found *f, uint64_t *random) {
  memcpy(out, f->body, f->length);
  for (unsigned i = 0; i < f->nplaces; i++) {
    uint16_t place;
    memcpy(&place, f->places + 2 * i, 2);
    put32(out + place, f->ttl);
  }
  shuffle(out + f->shuffle_at, f->shuffle_stride, f->shuffle_count, random);
}

size_t answer(const fw_table *t, const job *j, query *q, found *f) {
  uint8_t *out = j->out;
  if (parse(j->data, j->size, q) || (t->max_edns && q->edns_size > t->max_edns)) return 0;
  memset(f, 0, sizeof *f);
  if (look_up(t, q, f) && find_kept(t, q, j->now, f)) return 0;
  size_t limit = q->edns_size > MIN_UDP ? q->edns_size : MIN_UDP, edns = q->has_edns ? 11 : 0;
  size_t body = f->denied_by ? 54 : f->length, total = q->end + body + edns;
  if (total > limit || total > j->room) return 0;
  memcpy(out, j->data, q->end);
  put16(out + 2, (uint16_t)(QR | (q->flags & (RD | CD)) | f->bits));
  for (int i = 0; i < 3; i++) put16(out + 6 + 2 * i, f->counts[i]);
  if (f->denied_by) {
    put16(out + 8, 1);
    write_soa(out + q->end, f->denied_by, q);
  } else {
    write_records(out + q->end, f, j->random);
  }
  if (edns) {
    uint8_t *opt = out + q->end + body;
    memset(opt, 0, 11);
    put16(opt + 1, 41), put16(opt + 3, q->edns_size);
    opt[7] = (uint8_t)(q->dnssec_ok << 7);
    put16(out + 10, (uint16_t)(f->counts[2] + 1));
  }
  return total;
}

/* For tests and explain. `now` in nanoseconds of the monotonic clock; `refresh`: Python would be asked for a fresh one. */
size_t fw_answer(fw_table *t, const uint8_t *data, size_t size, uint8_t *out, size_t room, uint64_t seed, uint64_t now,
                 int *refresh) {
  query q;
  found f;
  uint64_t random = seed | 1;
  pthread_rwlock_rdlock(&t->lock);
  size_t length = answer(t, &(job){data, size, out, room, now, &random}, &q, &f);
  pthread_rwlock_unlock(&t->lock);
  *refresh = length && f.wants_refresh;
  return length;
}
