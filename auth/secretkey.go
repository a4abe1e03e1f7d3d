package auth

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// What the first registry with a secret key leaves in Redis for the later ones: a fixed text, stored as the secret of a
// device that cannot be. It is one ciphertext more of the kind that is there, which helps nobody to guess the key.
const (
	keyCheckText = "m2mbridge secret key check"
	keyCheckID   = DeviceID("secretkey")
)

func (k Keyspace) secretKey() string { return k.Key(0, "secretkey") }

// CheckSecretKey holds the secret key against the one that this Redis was set up with: the first ever given, which it
// notes. Another one, or none, is ErrOtherSecretKey. Secrets from before there was a key may be there still, in plain.
func (r *Registry) CheckSecretKey(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	key, keyed := r.keys.secretKey(), r.vault.aead != nil
	if keyed { // of several that start at once, one notes its key
		if err := r.client.SetNX(ctx, key, r.vault.store(keyCheckID, keyCheckText), 0).Err(); err != nil {
			return fmt.Errorf("note the secret key: %w", unavailable(err))
		}
	}
	form, err := r.client.Get(ctx, key).Result()
	switch {
	case errors.Is(err, redis.Nil) && !keyed:
		return nil
	case err != nil:
		return fmt.Errorf("check the secret key: %w", unavailable(err))
	case !keyed:
		return fmt.Errorf("%w: none is given", ErrOtherSecretKey)
	}
	if text, err := r.vault.open(keyCheckID, form); err != nil || text != keyCheckText {
		return ErrOtherSecretKey
	}
	return nil
}
