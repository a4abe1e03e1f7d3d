package auth

import (
	"context"
	"fmt"
)

// Secrets gives a device's active secrets, the newest first; ErrUnknown if there is no such device. It is there for
// explaining why a token does not match: what it returns must not leave the process, in an answer or a log.
func (r *Registry) Secrets(ctx context.Context, id DeviceID) ([]string, error) {
	a := r.attempt(kindSeal)
	defer r.release(a)
	rec, err := r.load(ctx, r.fresh, id, a)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", id, err)
	}
	if !rec.exists {
		return nil, fmt.Errorf("look up %s: %w", id, ErrUnknown)
	}
	var secrets []string
	for i := range rec.secrets {
		if s := rec.secret(i); s != nil && a.valid(&rec.secrets[i]) {
			secrets = append(secrets, string(s))
		}
	}
	return secrets, nil
}
