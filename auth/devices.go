package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// about is the JSON of a device's hash: what an uplink does not need.
type about struct {
	Name     string `json:"name,omitempty"`
	ICCID    string `json:"iccid,omitempty"`
	MSISDN   string `json:"msisdn,omitempty"`
	RatePlan string `json:"ratePlan,omitempty"`
	SMS      *bool  `json:"sms,omitempty"`
}

// putTries is how often a change starts anew because somebody else was faster.
const putTries = 8

// PutDevice writes a device and gives it back as it is stored. A Secret given becomes its only one; see RotateSecret.
func (r *Registry) PutDevice(ctx context.Context, d Device, mode PutMode) (Device, error) {
	if err := d.check(); err != nil {
		return Device{}, fmt.Errorf("put device: %w", err)
	}
	stored, err := r.changeDevice(ctx, d.ID, func(old *record, revision int64) (record, *Device, error) {
		switch {
		case old.exists && mode == Create:
			return record{}, nil, ErrExists
		case !old.exists && mode == Replace:
			return record{}, nil, ErrUnknown
		}
		rec, err := r.recordOf(&d, old, revision)
		return rec, &d, err
	})
	if err != nil {
		return Device{}, fmt.Errorf("put device %s: %w", d.ID, err)
	}
	return stored, nil
}

// RotateSecret makes secret ("": one is generated) the device's newest; the newest so far stays valid beside it, an
// older one ends. It returns the secret.
func (r *Registry) RotateSecret(ctx context.Context, id DeviceID, secret string) (string, error) {
	if secret == "" {
		secret = GenerateSecret()
	}
	if err := CheckSecret(secret); err != nil {
		return "", fmt.Errorf("rotate secret of %s: %w", id, err)
	}
	_, err := r.changeDevice(ctx, id, func(old *record, revision int64) (record, *Device, error) {
		switch {
		case !old.exists:
			return record{}, nil, ErrUnknown
		case old.has(flagUnsigned):
			return record{}, nil, fmt.Errorf("%w: an unsigned device has no secret", ErrInvalid)
		case r.isSecret(id, old.secrets[0], secret):
			return *old, nil, nil
		}
		rec := *old
		rec.matched = '0'
		rec.secrets = [2]storedSecret{r.newSecret(id, secret, revision), old.secrets[0]}
		return rec, nil, nil
	})
	if err != nil {
		return "", fmt.Errorf("rotate secret of %s: %w", id, err)
	}
	return secret, nil
}

// EndRotation drops the older of two secrets.
func (r *Registry) EndRotation(ctx context.Context, id DeviceID) error {
	_, err := r.changeDevice(ctx, id, func(old *record, _ int64) (record, *Device, error) {
		if !old.exists {
			return record{}, nil, ErrUnknown
		}
		rec := *old
		rec.matched, rec.secrets[1] = '0', storedSecret{}
		return rec, nil, nil
	})
	if err != nil {
		return fmt.Errorf("end rotation of %s: %w", id, err)
	}
	return nil
}

// GetDevice reads one device from Redis; ErrUnknown if there is none.
func (r *Registry) GetDevice(ctx context.Context, id DeviceID) (Device, error) {
	fields, err := r.readHash(ctx, r.keys.device(id))
	if err != nil {
		return Device{}, fmt.Errorf("get device %s: %w", id, err)
	}
	d, _, err := deviceOf(id, fields)
	return d, err
}

// DeleteDevice forgets a device; ErrUnknown if there is none.
func (r *Registry) DeleteDevice(ctx context.Context, id DeviceID) error {
	defer r.cache.invalidate(id)
	if err := r.erase(ctx, r.keys.deviceThing(id)); err != nil {
		return fmt.Errorf("delete device %s: %w", id, err)
	}
	return nil
}

// changeDevice reads a device, has change make the new record and, where it says so, the new description of it, and
// writes them unless somebody else has changed it meanwhile; then it starts anew.
func (r *Registry) changeDevice(ctx context.Context, id DeviceID,
	change func(old *record, revision int64) (record, *Device, error),
) (Device, error) {
	// Whatever the reply says or fails to say, this process must not go on with what it had.
	defer r.cache.invalidate(id)
	for range putTries {
		d, old, err := r.readDevice(ctx, id)
		if err != nil {
			return Device{}, err
		}
		revision := max(r.now().UnixMilli(), old.revision+1)
		rec, described, err := change(&old, revision)
		if err != nil {
			return Device{}, err
		}
		if described != nil {
			created := d.CreatedAt
			d = *described
			d.CreatedAt = created
		}
		if !old.exists {
			d.CreatedAt = time.UnixMilli(revision).UTC()
		}
		rec.exists, rec.revision = true, revision
		done, err := r.writeDevice(ctx, &d, &rec, old.revision)
		if err != nil {
			return Device{}, err
		}
		if done {
			d.Secret = ""
			d.fill(&rec)
			return d, nil
		}
	}
	return Device{}, ErrConflict
}

// readDevice is GetDevice with the record beside it, and none instead of an error.
func (r *Registry) readDevice(ctx context.Context, id DeviceID) (Device, record, error) {
	fields, err := r.readHash(ctx, r.keys.device(id))
	if errors.Is(err, ErrUnknown) {
		return Device{ID: id}, record{}, nil
	}
	if err != nil {
		return Device{}, record{}, err
	}
	return deviceOf(id, fields)
}

func (r *Registry) writeDevice(ctx context.Context, d *Device, rec *record, expected int64) (done bool, err error) {
	text, err := json.Marshal(about{d.Name, d.ICCID, d.MSISDN, d.RatePlan, d.SMS})
	if err != nil {
		return false, fmt.Errorf("encode: %w", err)
	}
	return r.write(ctx, r.keys.deviceThing(d.ID), expected, rec.revision,
		fieldCreated, d.CreatedAt.UnixMilli(), fieldAuth, rec.append(nil), fieldAbout, text)
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
	switch {
	case d.Unsigned:
	case d.Secret == "" && old.active() == 0:
		return rec, fmt.Errorf("%w device: it has no secret and is not unsigned", ErrInvalid)
	case d.Secret == "":
		rec.matched, rec.secrets = old.matched, old.secrets
		for i := range rec.secrets {
			if s := &rec.secrets[i]; len(s.form) > 0 {
				s.form = []byte(r.vault.restore(d.ID, string(s.form)))
			}
		}
	case r.isSecret(d.ID, old.secrets[0], d.Secret):
		rec.secrets[0] = r.newSecret(d.ID, d.Secret, old.secrets[0].since)
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

// deviceOf reads a device's hash.
func deviceOf(id DeviceID, fields map[string]string) (Device, record, error) {
	rec, err := parseRecord([]byte(fields[fieldAuth]))
	if err != nil {
		return Device{}, record{}, fmt.Errorf("read %s: %w", id, unavailable(err))
	}
	var a about
	if err := json.Unmarshal([]byte(fields[fieldAbout]), &a); err != nil {
		return Device{}, record{}, fmt.Errorf("read %s: %w", id, unavailable(err))
	}
	created, err := strconv.ParseInt(fields[fieldCreated], 10, 64)
	if err != nil {
		return Device{}, record{}, fmt.Errorf("read %s: %w", id, unavailable(err))
	}
	d := Device{
		ID: id, Name: a.Name, ICCID: a.ICCID, MSISDN: a.MSISDN, RatePlan: a.RatePlan, SMS: a.SMS,
		CreatedAt: time.UnixMilli(created).UTC(),
	}
	d.fill(&rec)
	return d, rec, nil
}

// fill sets what a device has from its record.
func (d *Device) fill(rec *record) {
	d.RequireToken, d.Unsigned, d.Disabled = rec.has(flagRequireToken), rec.has(flagUnsigned), rec.has(flagDisabled)
	d.Labels = rec.labelMap()
	d.Secrets, d.LastSecret = rec.active(), 0
	if d.Secrets > 1 {
		d.LastSecret = int(rec.matched - '0')
	}
	d.ModifiedAt = time.UnixMilli(rec.revision).UTC()
}
