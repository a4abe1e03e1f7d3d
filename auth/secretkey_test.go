package auth

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"m2mbridge/auth/redistest"
)

func secretKey(k string) func(*RegistryConfig) { return func(c *RegistryConfig) { c.SecretKey = k } }

func TestCheckSecretKey(t *testing.T) {
	const key = "the key of this test"
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		check := func(name, key string, want error) {
			t.Helper()
			if err := testRegistry(t, s, secretKey(key)).CheckSecretKey(t.Context()); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
		}
		put(t, testRegistry(t, s), Device{ID: imei, Secret: secret})
		check("never a key", "", nil)
		check("the first key, on plain secrets", key, nil)
		check("the same key", key, nil)
		check("another key", "a key of another one", ErrOtherSecretKey)
		check("no key", "", ErrOtherSecretKey)
		check("the same key after those", key, nil)
		noted, err := s.Client().Get(t.Context(), "m2m:{0}:secretkey").Result()
		if err != nil || !strings.HasPrefix(noted, sealedForm) || strings.Contains(noted, key) {
			t.Errorf("noted: %s, %v", noted, err)
		}
		if err := s.Client().Set(t.Context(), "m2m:{0}:secretkey", plainForm+"x", 0).Err(); err != nil {
			t.Fatal(err)
		}
		check("a check value that is none", key, ErrOtherSecretKey)
	})
}

// Nodes with two keys start on a fresh Redis at once: those of one key may go on.
func TestCheckSecretKeyAtOnce(t *testing.T) {
	s := redistest.Start(t)
	var starting sync.WaitGroup
	errs := make([]error, 20)
	for i := range errs {
		r := testRegistry(t, s, secretKey(strings.Repeat("ab"[i%2:i%2+1], minSecretKey)))
		starting.Go(func() { errs[i] = r.CheckSecretKey(t.Context()) })
	}
	starting.Wait()
	for i, err := range errs {
		if err != nil && !errors.Is(err, ErrOtherSecretKey) || (err == nil) != (errs[i%2] == nil) {
			t.Errorf("node %d: %v, the first with its key: %v", i, err, errs[i%2])
		}
	}
	if (errs[0] == nil) == (errs[1] == nil) {
		t.Errorf("one key: %v, the other: %v", errs[0], errs[1])
	}
}

func TestCheckSecretKeyWithoutRedis(t *testing.T) {
	s := redistest.Start(t)
	s.Kill()
	for _, key := range []string{"", "the key of this test"} {
		err := testRegistry(t, s, secretKey(key)).CheckSecretKey(t.Context())
		if !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrOtherSecretKey) {
			t.Errorf("with key %q: %v", key, err)
		}
	}
}
