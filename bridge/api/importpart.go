package api

import (
	"context"
	"errors"
	"fmt"

	"github.com/danielgtaylor/huma/v2"

	"m2mbridge/auth"
)

// importPart is a batch of an import on its way through the registry.
type importPart struct {
	run  *importRun
	app  *auth.App
	dry  bool
	rows []*row // those without faults
	done []auth.DeviceChange
	made map[auth.DeviceID]string // secrets generated
}

// importFault is a line of the answer about what is wrong.
type importFault struct {
	Line  int    `json:"line,omitempty"`
	ID    string `json:"id,omitempty"`
	Error string `json:"error"`
}

// importDifference is a line of a dry run's answer.
type importDifference struct {
	Line    int           `json:"line"`
	ID      string        `json:"id"`
	Action  string        `json:"action"`
	Changes []fieldChange `json:"changes"`
}

// importSecret is a line of the answer about a secret that was made.
type importSecret struct {
	Line   int    `json:"line"`
	ID     string `json:"id"`
	Secret string `json:"secret"`
}

// errRow is a row's fault that only shows beside the device as it is.
type errRow struct{ text string }

func (e errRow) Error() string { return e.text }

// repeated refuses a device that was in the file before.
func (r *importRun) repeated(one *row) error {
	if before := r.seen.add(one.id, one.line); before > 0 {
		return fmt.Errorf("the device is on line %d already", before)
	}
	return nil
}

// put has the registry make the devices as the rows say.
func (p *importPart) put(ctx context.Context) (err error) {
	p.dry, p.made = p.run.dry(), map[auth.DeviceID]string{}
	if len(p.rows) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, opLimit)
	defer cancel()
	ids := make([]auth.DeviceID, len(p.rows))
	for i, one := range p.rows {
		ids[i] = one.id
	}
	p.done, err = p.run.api.registry.PutDevices(ctx, ids, auth.Bulk{Dry: p.dry, Window: p.run.window}, p.change)
	return err
}

// change is what the i-th row makes of its device.
func (p *importPart) change(i int, old *auth.Device) (auth.Device, error) {
	one, d := p.rows[i], auth.Device{}
	if old != nil {
		d = *old
	}
	d.ID, d.Secret = one.id, one.secret
	for _, e := range one.edits {
		e(&d)
	}
	if old != nil && !p.app.Sees(d.ID, old.Labels) || !p.app.Sees(d.ID, d.Labels) {
		return d, errRow{"it is not among the devices of app " + p.app.Name}
	}
	if d.Unsigned || d.Secret != "" || old != nil && old.Secrets > 0 {
		delete(p.made, d.ID)
		return d, nil
	}
	if !p.run.params.GenerateSecrets {
		return d, errRow{"it has no secret and is not unsigned: give it one, or have secrets generated"}
	}
	if p.made[d.ID] == "" {
		p.made[d.ID] = auth.GenerateSecret()
	}
	d.Secret = p.made[d.ID]
	return d, nil
}

// answer tells of each row, in the order of the lines.
func (p *importPart) answer(batch []row) error {
	t, good := &p.run.total, 0
	for i := range batch {
		one := &batch[i]
		if one.fault == nil {
			c := &p.done[good]
			good++
			if one.fault = faultOf(c.Err); one.fault == nil {
				if err := p.count(one, c); err != nil {
					return err
				}
				continue
			}
			p.run.halt()
		}
		t.Faults++
		if err := p.run.out.write(importFault{one.line, string(one.id), one.fault.Error()}); err != nil {
			return err
		}
	}
	return nil
}

// count adds up what was done, or would be, and says what there is to say of it.
func (p *importPart) count(one *row, c *auth.DeviceChange) error {
	t, action := &p.run.total, "change"
	switch {
	case p.dry && !p.run.params.DryRun:
		t.Left++
		return nil
	case c.Before == nil:
		action = "create"
		t.Created++
	case c.Changed:
		t.Changed++
	default:
		t.Unchanged++
		return nil
	}
	secret := p.made[one.id]
	if !p.dry {
		if secret == "" {
			return nil
		}
		return p.run.out.write(importSecret{one.line, string(one.id), secret})
	}
	changes := attributes().differences(c.Before, &c.After)
	for i := range changes {
		if !p.app.Has(auth.ScopeDeviceRead) {
			changes[i].From = nil // what is there is to be read with that scope only
		}
	}
	if c.NewSecret {
		changes = append(changes, fieldChange{Field: "secret", To: "new"})
	}
	return p.run.out.write(importDifference{one.line, string(one.id), action, changes})
}

// faultOf is what an answer says of a device that was not changed.
func faultOf(err error) error {
	var own errRow
	var known huma.StatusError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &own):
		return own
	case errors.Is(err, auth.ErrDamaged):
		return errRow{"the device's record is damaged: remove it, or replace it with PUT"}
	case errors.As(err, &known), errors.Is(err, auth.ErrInvalid), errors.Is(err, auth.ErrConflict), errors.Is(err, auth.ErrInUse):
		return err
	}
	return errRow{"it could not be stored: import it again"}
}
