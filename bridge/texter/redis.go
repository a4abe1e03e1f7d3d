package texter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/sms"
)

// Keys, in the partition of the SMSC's id, which is all that a receipt has:
//
//	m2m:{q}:sms:id:<gateway>:<id>      which part of which attempt it is: "<downlink> <attempt> <part> <parts> <MSISDN>"
//	m2m:{q}:sms:early:<gateway>:<id>   receipts that came before anybody knew the id: a list of JSON
//
// Ids are in their canonical spelling. A receipt looks for its id, is parked, and looks again; an answer of the gateway has its ids
// noted, and then looks for what is parked: whoever comes later finds the other.

const (
	parkedFor  = time.Hour
	parkedMost = 16 // receipts of one id
)

// part is one message of the SMSC: a part of an attempt.
type part struct {
	downlink             string
	attempt, part, parts int
	to                   string
}

func (p part) String() string {
	return fmt.Sprintf("%s %d %d %d %s", p.downlink, p.attempt, p.part, p.parts, p.to)
}

func parsePart(text string) (p part, ok bool) {
	words := strings.Split(text, " ")
	if len(words) != 5 {
		return p, false
	}
	var errs [3]error
	p.downlink, p.to = words[0], words[4]
	p.attempt, errs[0] = strconv.Atoi(words[1])
	p.part, errs[1] = strconv.Atoi(words[2])
	p.parts, errs[2] = strconv.Atoi(words[3])
	return p, errors.Join(errs[:]...) == nil
}

// is tells whether a receipt may be of it: numbers are written in more than one way, their last digits are not. A receipt that names no
// number, or masks it, or has ours in its place, goes by its id alone.
func (p part) is(r *sms.Receipt, originator string) bool {
	const digits = 8
	to := strings.TrimPrefix(r.To, "+")
	if len(to) < digits || strings.Trim(to, "0123456789") != "" || to == originator {
		return true
	}
	return tail(to, digits) == tail(p.to, digits)
}

// distinct are ids as they are kept, each once: there are SMSCs that give all parts of a message the same.
func distinct(ids []string) (list []string) {
	for _, id := range ids {
		if id = sms.CanonicalID(id); id != "" && !slices.Contains(list, id) {
			list = append(list, id)
		}
	}
	return list
}

func tail(s string, n int) string { return s[max(len(s)-n, 0):] }

func (t *Texter) key(kind, gateway, id string) string {
	name := gateway + ":" + id
	return t.cfg.Keys.Key(t.cfg.Keys.Partition(auth.DeviceID(name)), "sms:"+kind+":"+name)
}

// learn notes which messages of the SMSC an attempt was; its ids are distinct.
func (t *Texter) learn(ctx context.Context, o told) error {
	for i, id := range o.ids {
		p := part{o.m.ID, o.m.Attempt, i + 1, len(o.ids), o.m.To}
		if err := t.cfg.Client.Set(ctx, t.key("id", o.gateway, id), p.String(), t.cfg.Keep).Err(); err != nil {
			return fmt.Errorf("note the id of an SMS: %w", err)
		}
	}
	return nil
}

// early applies the receipts that came before their attempt's ids were known.
func (t *Texter) early(ctx context.Context, o told) error {
	for i, id := range o.ids {
		p := part{o.m.ID, o.m.Attempt, i + 1, len(o.ids), o.m.To}
		for _, form := range sms.Forms(id) {
			key := t.key("early", o.gateway, form)
			lines, err := t.cfg.Client.LRange(ctx, key, 0, -1).Result()
			if err != nil {
				return fmt.Errorf("look for receipts of an SMS: %w", err)
			}
			for _, line := range lines {
				r, err := parseParked(line)
				if err != nil {
					t.cfg.Log.Error("receipt that was kept cannot be read", "error", err)
					continue
				}
				if !p.is(&r, t.cfg.Originator) {
					continue
				}
				if err := t.apply(ctx, p, &r); err != nil {
					return err
				}
				if err := t.cfg.Client.LRem(ctx, key, 1, line).Err(); err != nil {
					return fmt.Errorf("take a receipt: %w", err)
				}
			}
		}
	}
	return nil
}

// parked is a receipt as it lies in Redis.
type parked struct {
	ID    string    `json:"id"`
	To    string    `json:"to,omitempty"`
	State string    `json:"state"`
	Class string    `json:"class,omitempty"`
	Code  string    `json:"code,omitempty"`
	At    time.Time `json:"at,omitzero"`
}

func parkedLine(r *sms.Receipt) ([]byte, error) {
	line, err := json.Marshal(parked{r.ID, r.To, string(r.State), string(r.Class), r.Code, r.At})
	if err != nil {
		return nil, fmt.Errorf("park a receipt: %w", err)
	}
	return line, nil
}

// unpark takes one away that was found after all.
func (t *Texter) unpark(ctx context.Context, gateway string, r *sms.Receipt) error {
	line, err := parkedLine(r)
	if err != nil {
		return err
	}
	if err := t.cfg.Client.LRem(ctx, t.key("early", gateway, sms.CanonicalID(r.ID)), 0, line).Err(); err != nil {
		return fmt.Errorf("take a receipt: %w", err)
	}
	return nil
}

func parseParked(line string) (sms.Receipt, error) {
	var p parked
	err := json.Unmarshal([]byte(line), &p)
	return sms.Receipt{ID: p.ID, To: p.To, State: sms.ReceiptState(p.State), Class: sms.Class(p.Class), Code: p.Code, At: p.At}, err
}

// find looks for what a receipt is of.
func (t *Texter) find(ctx context.Context, gateway string, r *sms.Receipt) (p part, ok bool, err error) {
	for _, form := range forms(r) {
		text, err := t.cfg.Client.Get(ctx, t.key("id", gateway, form)).Result()
		if errors.Is(err, redis.Nil) {
			continue
		}
		if err != nil {
			return p, false, fmt.Errorf("look for the SMS of a receipt: %w", err)
		}
		if p, ok = parsePart(text); ok && p.is(r, t.cfg.Originator) {
			return p, true, nil
		}
	}
	return p, false, nil
}

// forms are how the id of a receipt may have been written, as ids are kept.
func forms(r *sms.Receipt) (list []string) {
	for _, form := range append(append([]string{r.ID}, r.Forms...), sms.Forms(r.ID)...) {
		if form = sms.CanonicalID(form); form != "" && !slices.Contains(list, form) {
			list = append(list, form)
		}
	}
	return list
}

// park keeps a receipt that is of nothing that is known yet.
func (t *Texter) park(ctx context.Context, gateway string, r *sms.Receipt) error {
	id := sms.CanonicalID(r.ID)
	if id == "" {
		return nil
	}
	line, err := parkedLine(r)
	if err != nil {
		return err
	}
	key := t.key("early", gateway, id)
	pipe := t.cfg.Client.TxPipeline()
	pipe.LRem(ctx, key, 0, line) // the same once more
	pipe.RPush(ctx, key, line)
	pipe.LTrim(ctx, key, -parkedMost, -1)
	pipe.PExpire(ctx, key, parkedFor)
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("park a receipt: %w", err)
	}
	return nil
}
