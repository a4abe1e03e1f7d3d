package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// held is a device as Redis holds it: what it is, what verifies it, and the secrets that it had before.
type held struct {
	device Device
	rec    record
	past   []string // stored forms, the latest first
	uses   int64    // messages made with the newest secret, counted during a rotation

	damaged bool   // it exists, and nothing of it can be read
	stored  string // of a damaged one: its revision as it stands there
}

// about is the JSON of a device's hash: what an uplink does not need.
type about struct {
	Name     string `json:"name,omitempty"`
	ICCID    string `json:"iccid,omitempty"`
	MSISDN   string `json:"msisdn,omitempty"`
	RatePlan string `json:"ratePlan,omitempty"`
	SMS      *bool  `json:"sms,omitempty"`
}

const pastKept = 2 // secrets of before that are kept, to explain with

// changeDevice reads a device, has change make what it is to be, and writes that unless somebody else has changed it
// meanwhile; then it starts anew. What changes nothing is not written: the device keeps its revision.
func (r *Registry) changeDevice(ctx context.Context, id DeviceID, revision int64,
	change func(old *held, revision int64) (held, error),
) (Device, error) {
	return r.changeRead(ctx, r.readDevice, id, revision, change)
}

// changeRead is changeDevice with a way to read the device.
func (r *Registry) changeRead(ctx context.Context, read func(context.Context, DeviceID) (held, error), id DeviceID, revision int64,
	change func(old *held, revision int64) (held, error),
) (Device, error) {
	// Whatever the reply says or fails to say, this process must not go on with what it had.
	defer r.cache.invalidate(id)
	for range tries(ctx) {
		old, err := read(ctx, id)
		if err != nil {
			return Device{}, err
		}
		if revision != AnyRevision && old.rec.exists && old.rec.revision != revision {
			return Device{}, ErrRevision
		}
		next, err := r.prepare(&old, change)
		if err != nil {
			return Device{}, err
		}
		if r.unchanged(&old, &next) {
			return old.device, nil
		}
		w, err := r.writeOf(&old, &next)
		if err != nil {
			return Device{}, err
		}
		if done, err := r.writeOne(ctx, w); err != nil || done {
			return next.device, err
		}
	}
	return Device{}, ErrConflict
}

// unchanged reports whether nothing of the next state is to be written. A secret that is to be encrypted from now on is.
func (r *Registry) unchanged(old, next *held) bool {
	now := *old
	now.rec.tidy(r.now().UnixMilli()) // next has been: what ended by time was no change
	return !old.damaged && next.same(&now) && next.rec.sealed() == now.rec.sealed()
}

// prepare has change make the next state, and completes it.
func (r *Registry) prepare(old *held, change func(old *held, revision int64) (held, error)) (held, error) {
	now := r.now().UnixMilli()
	revision := max(now, old.rec.revision+1)
	next, err := change(old, revision)
	if err != nil {
		return held{}, err
	}
	next.device.CreatedAt = old.device.CreatedAt
	if next.device.CreatedAt.IsZero() {
		next.device.CreatedAt = time.UnixMilli(revision).UTC()
	}
	next.rec.exists, next.rec.revision = true, revision
	next.past = r.retired(old, &next)
	if next.rec.secrets[0].since != old.rec.secrets[0].since {
		next.uses = 0
	}
	next.device.Secret = ""
	next.device.fill(&next, now)
	return next, nil
}

// retired adds to the secrets of before those that the change ends.
func (r *Registry) retired(old, next *held) []string {
	past := old.past
	for i := len(old.rec.secrets) - 1; i >= 0; i-- {
		s := &old.rec.secrets[i]
		stays := func(is storedSecret) bool { return len(is.form) > 0 && is.since == s.since }
		if len(s.form) > 0 && !slices.ContainsFunc(next.rec.secrets[:], stays) {
			past = append([]string{r.vault.restore(old.device.ID, string(s.form))}, past...)
		}
	}
	return past[:min(len(past), pastKept)]
}

// described is the next state of a device with a new description.
func (r *Registry) described(d Device, old *held, revision int64) (held, error) {
	next := held{device: d, uses: old.uses}
	var err error
	next.rec, err = r.recordOf(&d, &old.rec, revision)
	return next, err
}

// recordOf is the record that a device is to have, given the one it has.
func (r *Registry) recordOf(d *Device, old *record, revision int64) (record, error) {
	rec := record{matched: '0', labels: joinLabels(d.Labels)}
	for flag, set := range map[flags]bool{
		flagDisabled: d.Disabled, flagUnsigned: d.Unsigned, flagRequireToken: d.RequireToken,
	} {
		if set {
			rec.flags |= flag
		}
	}
	now := r.now().UnixMilli()
	switch {
	case d.Unsigned:
	case d.Secret == "" && old.active(now) == 0 && (!old.exists || old.has(flagUnsigned)):
		return rec, fmt.Errorf("%w device: it has no secret and is not unsigned", ErrInvalid)
	case d.Secret == "", old.secrets[0].active(now) && r.isSecret(d.ID, old.secrets[0], d.Secret):
		rec.matched, rec.secrets = old.matched, old.secrets
		rec.tidy(now)
		for i := range rec.secrets {
			if s := &rec.secrets[i]; len(s.form) > 0 {
				s.form = []byte(r.vault.restore(d.ID, string(s.form)))
			}
		}
	default:
		rec.secrets[0] = r.newSecret(d.ID, d.Secret, revision)
	}
	return rec, nil
}

func (r *Registry) newSecret(id DeviceID, secret string, since int64) storedSecret {
	return storedSecret{since: since, form: []byte(r.vault.store(id, secret))}
}

func (r *Registry) isSecret(id DeviceID, s storedSecret, secret string) bool {
	have, err := r.vault.open(id, string(s.form))
	return err == nil && have == secret
}

// readDevice reads a device; what there is none of does not exist in its record.
func (r *Registry) readDevice(ctx context.Context, id DeviceID) (held, error) {
	fields, err := r.readHash(ctx, r.keys.device(id))
	if errors.Is(err, ErrUnknown) {
		return held{device: Device{ID: id}}, nil
	}
	if err != nil {
		return held{}, err
	}
	return r.heldOf(id, fields)
}

// readDevices is readDevice for several; those that are damaged say so.
func (r *Registry) readDevices(ctx context.Context, ids []DeviceID) ([]held, error) {
	keys := make([]string, len(ids))
	for i, id := range ids {
		keys[i] = r.keys.device(id)
	}
	ctx, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	hashes, err := r.readHashes(ctx, keys)
	if err != nil {
		return nil, err
	}
	all := make([]held, len(ids))
	for i, id := range ids {
		all[i].device.ID = id
		if hashes[i] == nil {
			continue
		}
		all[i], _ = r.heldOf(id, hashes[i]) // a damaged one is logged, and marked
	}
	return all, nil
}

// heldOf reads a device's hash; with ErrDamaged it gives what is left.
func (r *Registry) heldOf(id DeviceID, fields map[string]string) (h held, err error) {
	if err := h.read(id, fields); err != nil {
		h.remains(fields)
		return h, r.damaged(id, err)
	}
	h.device.fill(&h, r.now().UnixMilli())
	return h, nil
}

// read reads what it can of a device's hash, in an order in which what is damaged most hides least.
func (h *held) read(id DeviceID, fields map[string]string) (err error) {
	h.device.ID = id
	var a about
	if err := json.Unmarshal([]byte(fields[fieldAbout]), &a); err != nil {
		return fmt.Errorf("about: %w", errRecord) // what JSON says of it may quote it
	}
	h.device = Device{ID: id, Name: a.Name, ICCID: a.ICCID, MSISDN: a.MSISDN, RatePlan: a.RatePlan, SMS: a.SMS}
	created, err := strconv.ParseInt(fields[fieldCreated], 10, 64)
	if err != nil {
		return fmt.Errorf("created: %w", errRecord)
	}
	h.device.CreatedAt = time.UnixMilli(created).UTC()
	if h.rec, err = parseRecord([]byte(fields[fieldAuth])); err != nil {
		return err
	}
	if uses := fields[fieldUses]; uses != "" {
		if h.uses, err = strconv.ParseInt(uses, 10, 64); err != nil {
			return fmt.Errorf("uses: %w", errRecord)
		}
	}
	if past := fields[fieldPast]; past != "" {
		h.past = strings.Split(past, "\t")
	}
	return nil
}

// fill sets what a device has from its record.
func (d *Device) fill(h *held, now int64) {
	rec := &h.rec
	d.RequireToken, d.Unsigned, d.Disabled = rec.has(flagRequireToken), rec.has(flagUnsigned), rec.has(flagDisabled)
	d.Labels = rec.labelMap()
	d.Secrets, d.LastSecret, d.Rotation = rec.active(now), 0, nil
	if d.Secrets > 1 {
		d.LastSecret = int(rec.matched - '0')
		d.Rotation = rotationOf(h)
	}
	d.ModifiedAt = time.UnixMilli(rec.revision).UTC()
}

// writeOf is what takes a device from its old state to the next.
func (r *Registry) writeOf(old, next *held) (write, error) {
	d := &next.device
	text, err := json.Marshal(about{d.Name, d.ICCID, d.MSISDN, d.RatePlan, d.SMS})
	if err != nil {
		return write{}, fmt.Errorf("encode: %w", err)
	}
	w := write{
		thing: r.keys.deviceThing(d.ID), expected: old.rec.revision, revision: next.rec.revision, created: d.CreatedAt.UnixMilli(),
		fields: []any{fieldAuth, next.rec.append(nil), fieldAbout, text},
	}
	if old.damaged {
		w.want = &old.stored
	}
	if old.rec.exists { // a new one has neither, and most never will
		w.fields = append(w.fields, fieldPast, strings.Join(next.past, "\t"), fieldUses, next.uses)
	}
	had := old.device.terms()
	for _, term := range d.terms() {
		if i := slices.Index(had, term); i >= 0 {
			had = slices.Delete(had, i, i+1)
		} else {
			w.come = append(w.come, term)
		}
	}
	w.gone = had
	return w, nil
}
