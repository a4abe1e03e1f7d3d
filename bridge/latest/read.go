package latest

import (
	"context"
	"slices"

	"m2mbridge/bridge/stream"
)

// read merges what is new: from memory where that goes back so far, else a page
// from Redis. more: there is more at once.
func (p *Projector) read(ctx context.Context) (more bool, err error) {
	var behind []*part
	for _, t := range p.parts {
		if t.held && !p.readRecent(t) {
			behind = append(behind, t)
		}
	}
	for some := range slices.Chunk(behind, pagesAtOnce) {
		full, err := p.readPages(ctx, some)
		if err != nil {
			return false, err
		}
		more = more || full
	}
	return more, nil
}

// readRecent reads a partition from memory, where it can.
func (p *Projector) readRecent(t *part) bool {
	if p.cfg.Recent == nil {
		return false
	}
	for {
		list, end, ok := p.cfg.Recent(stream.Uplinks, t.partition, t.pos.ID, p.list[:0])
		for i := range list {
			t.take(&list[i])
		}
		full := ok && len(list) == cap(list)
		p.metrics.uplinks.Add(float64(len(list)))
		clear(list)
		if !full || p.full() {
			if ok && !full && t.pos.ID.Less(end.ID) { // entries that are none of the bridge's
				t.pos = end
			}
			return ok
		}
	}
}

// readPages reads a page of each of some partitions. What was trimmed before is
// gone: what comes after it is later.
func (p *Projector) readPages(ctx context.Context, some []*part) (full bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, redisLimit)
	defer cancel()
	asks := make([]stream.Ask, len(some))
	for i, t := range some {
		asks[i] = stream.Ask{Kind: stream.Uplinks, Partition: t.partition, After: t.pos, Limit: pageSize}
	}
	pages, err := p.reader.Pages(ctx, asks)
	if err != nil {
		return false, err
	}
	for i := range pages {
		for j := range pages[i].Entries {
			some[i].take(&pages[i].Entries[j])
		}
		p.metrics.uplinks.Add(float64(len(pages[i].Entries)))
		some[i].pos = pages[i].Next
		full = full || pages[i].Full
	}
	return full, nil
}
