package auth

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"m2mbridge/auth/redistest"
)

type tokenVector struct {
	Name, Secret, Token string
	Body                string `json:"body_base64"`
	Strict              string `json:"strict_token"`
}

func (v *tokenVector) body(t *testing.T) []byte {
	t.Helper()
	body, err := base64.StdEncoding.DecodeString(v.Body)
	if err != nil {
		t.Fatalf("body of %s: %v", v.Name, err)
	}
	return body
}

func tokenVectors(t *testing.T) (vectors []tokenVector) {
	t.Helper()
	text, err := os.ReadFile("testdata/tokens.json")
	if err != nil {
		t.Fatalf("read vectors: %v", err)
	}
	if err := json.Unmarshal(text, &vectors); err != nil || len(vectors) == 0 {
		t.Fatalf("decode vectors: %v", err)
	}
	return vectors
}

// KPN's clients made these tokens; those with secrets too short for the policy are hash vectors only.
func TestTokenVectors(t *testing.T) {
	s := redistest.Start(t)
	r := follow(t, testRegistry(t, s))
	put(t, r.Registry, Device{ID: imei, Secret: secret})
	for _, v := range tokenVectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			body := v.body(t)
			hashed := body
			if v.Strict != "" {
				hashed = TrimNULs(body)
				if got := Token(body, v.Secret); got != v.Strict {
					t.Errorf("token over all bytes = %s, want %s", got, v.Strict)
				}
			}
			if got := Token(hashed, v.Secret); got != v.Token {
				t.Fatalf("token = %s, want %s", got, v.Token)
			}
			if CheckSecret(v.Secret) != nil {
				return
			}
			p, err := r.VerifyTokenNUL(t.Context(), imei, body, v.Token)
			if err != nil || p.Device != imei || p.Secret != 1 || hex.EncodeToString(p.Token[:]) != v.Token {
				t.Errorf("verify = %+v, %v", p, err)
			}
			if _, err := r.VerifyToken(t.Context(), imei, body, v.Token); errors.Is(err, ErrWrongToken) != (v.Strict != "") {
				t.Errorf("verify without regard to NULs: %v", err)
			}
			if _, err := r.VerifyToken(t.Context(), imei, body, strings.ToUpper(v.Token)); (err != nil) != (v.Strict != "") {
				t.Errorf("verify in upper case: %v", err)
			}
		})
	}
}

// body and the tokens made of it.
var body = []byte(`[{"bn":"urn:dev:IMEI:356726104408422:","n":"a","v":1}]`)

func TestVerifyToken(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		r := follow(t, testRegistry(t, s)).Registry
		put(t, r, Device{ID: imei, Secret: secret, RequireToken: true})
		put(t, r, Device{ID: other, Secret: secret, Disabled: true})
		put(t, r, Device{ID: uuid, Unsigned: true})
		right, wrong := Token(body, secret), Token(body, newer)
		for _, c := range []struct {
			name  string
			id    DeviceID
			token string
			err   error
		}{
			{"OK", imei, right, nil},
			{"OK in upper case", imei, strings.ToUpper(right), nil},
			{"wrong", imei, wrong, ErrWrongToken},
			{"missing", imei, "", ErrTokenMissing},
			{"malformed", imei, right[1:] + "g", ErrTokenMalformed},
			{"too short", imei, right[1:], ErrTokenMalformed},
			{"unknown", "IMEI:000000000000000", right, ErrUnknown},
			{"unknown and missing", "IMEI:000000000000000", "", ErrTokenMissing},
			{"no id at all", "*", right, ErrUnknown},
			{"disabled", other, right, ErrDisabled},
			{"disabled and wrong", other, wrong, ErrWrongToken},
			{"unsigned", uuid, "", nil},
			{"unsigned with a token", uuid, wrong, nil},
			{"unsigned with rubbish", uuid, "rubbish", nil},
		} {
			t.Run(c.name, func(t *testing.T) {
				for range 2 { // from Redis, then from the cache
					p, err := r.VerifyToken(t.Context(), c.id, body, c.token)
					if !errors.Is(err, c.err) {
						t.Fatalf("error = %v, want %v", err, c.err)
					}
					if err != nil {
						if p != (Proof{}) {
							t.Fatalf("refused with proof %+v", p)
						}
						continue
					}
					want := Proof{Device: imei, Secret: 1, RequireToken: true, since: p.since}
					want.Token, _ = ParseToken(right)
					if c.id == uuid {
						want = Proof{Device: uuid, Unsigned: true, Token: sha256.Sum256(body)}
					}
					if p != want {
						t.Fatalf("proof = %+v, want %+v", p, want)
					}
				}
			})
		}
	})
}

func TestVerifyTokenOfAnEmptyBody(t *testing.T) {
	r := testRegistry(t, redistest.Mini(t))
	put(t, r, Device{ID: imei, Secret: secret})
	if _, err := r.VerifyToken(t.Context(), imei, nil, Token(nil, secret)); err != nil {
		t.Errorf("verify: %v", err)
	}
	if _, err := r.VerifyTokenNUL(t.Context(), imei, []byte{0, 0}, Token(nil, secret)); err != nil {
		t.Errorf("verify NULs only: %v", err)
	}
}

func TestVerifyLogin(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		r := testRegistry(t, s)
		put(t, r, Device{ID: imei, Secret: secret})
		put(t, r, Device{ID: other, Secret: secret, Disabled: true})
		put(t, r, Device{ID: uuid, Unsigned: true})
		user := "URN:dev:IMEI:356726104408422"
		for _, c := range []struct {
			name     string
			id       DeviceID
			password string
			err      error
		}{
			{"OK with the secret", imei, secret, nil},
			{"OK with the token", imei, Token([]byte(user), secret), nil},
			{"OK with the token in upper case", imei, strings.ToUpper(Token([]byte(user), secret)), nil},
			{"another username's token", imei, Token([]byte("x"), secret), ErrWrongToken},
			{"the secret in another case", imei, strings.ToUpper(secret), ErrWrongToken},
			{"nothing", imei, "", ErrWrongToken},
			{"unknown", "IMEI:000000000000000", secret, ErrUnknown},
			{"disabled", other, secret, ErrDisabled},
			{"unsigned", uuid, "", ErrWrongToken},
		} {
			t.Run(c.name, func(t *testing.T) {
				if _, err := r.VerifyLogin(t.Context(), c.id, user, c.password); !errors.Is(err, c.err) {
					t.Errorf("error = %v, want %v", err, c.err)
				}
			})
		}
	})
}

func TestSealAndRecheck(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		r, ctx := testRegistry(t, s), t.Context()
		put(t, r, Device{ID: imei, Secret: secret})
		login, err := r.VerifyLogin(ctx, imei, imei.BaseName(), secret)
		if err != nil {
			t.Fatalf("login: %v", err)
		}
		seals := func(with string) {
			t.Helper()
			p, err := r.Seal(ctx, imei, body)
			if err != nil || hex.EncodeToString(p.Token[:]) != Token(body, with) || p.Secret != 1 {
				t.Errorf("seal = %+v, %v", p, err)
			}
		}
		rechecks := func(want error) {
			t.Helper()
			if _, err := r.Recheck(ctx, login); !errors.Is(err, want) {
				t.Errorf("recheck: %v, want %v", err, want)
			}
		}
		seals(secret)
		rechecks(nil)
		if _, _, err := r.Rotate(ctx, imei, AnyRevision, Rotation{Secret: newer, Window: time.Hour}); err != nil {
			t.Fatalf("rotate: %v", err)
		}
		seals(newer)
		rechecks(nil)
		if _, err := r.RevokeSecret(ctx, imei, AnyRevision, OldSecret); err != nil {
			t.Fatalf("end rotation: %v", err)
		}
		seals(newer)
		rechecks(ErrWrongToken)
		put(t, r, Device{ID: imei, Disabled: true})
		rechecks(ErrDisabled)
		if _, err := r.Seal(ctx, imei, body); !errors.Is(err, ErrDisabled) {
			t.Errorf("seal of a disabled device: %v", err)
		}
		if err := r.DeleteDevice(ctx, imei, AnyRevision); err != nil {
			t.Fatalf("delete: %v", err)
		}
		rechecks(ErrUnknown)
		// The same secret given anew is another one: the session of the device that was deleted ends.
		put(t, r, Device{ID: imei, Secret: secret})
		rechecks(ErrWrongToken)
	})
}

// Unknown device, wrong token and disabled device: the same commands and the same hashes, cached or not.
func TestRefusalsCostTheSame(t *testing.T) {
	s := redistest.Start(t)
	counted := &commandCounter{}
	r := follow(t, testRegistry(t, s, func(c *RegistryConfig) {
		client := s.Client()
		client.AddHook(counted)
		c.Client = client
	})).Registry
	put(t, r, Device{ID: imei, Secret: secret})
	put(t, r, Device{ID: other, Secret: secret})
	put(t, r, Device{ID: uuid, Secret: secret})
	if _, _, err := r.Rotate(t.Context(), uuid, AnyRevision, Rotation{Secret: newer, Window: time.Hour}); err != nil {
		t.Fatalf("rotate: %v", err)
	}
	for _, id := range []DeviceID{imei, other, uuid} {
		if _, err := r.VerifyToken(t.Context(), id, body, Token(body, secret)); err != nil {
			t.Fatalf("verify %s: %v", id, err)
		}
	}
	awaitLastSecret(t, r, uuid, 2) // or the record of it would be counted
	put(t, r, Device{ID: other, Disabled: true})
	const unknown = DeviceID("IMEI:000000000000000")
	nul := append(body[:len(body):len(body)], 0)
	for _, c := range []struct {
		name   string
		id     DeviceID
		body   []byte
		token  string
		err    error
		hashes int
	}{
		{"wrong token", imei, body, Token(body, newer), ErrWrongToken, 4},
		{"wrong token in rotation", uuid, body, Token(nil, newer), ErrWrongToken, 4},
		{"disabled", other, body, Token(body, secret), ErrDisabled, 4},
		{"unknown", unknown, body, Token(body, secret), ErrUnknown, 4},
		{"wrong token with NUL", imei, nul, Token(body, newer), ErrWrongToken, 8},
		{"disabled with NUL", other, nul, Token(body, secret), ErrDisabled, 8},
		{"unknown with NUL", unknown, nul, Token(body, secret), ErrUnknown, 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := r.attempt(kindToken)
			defer r.release(a)
			a.bodies[0] = c.body
			if bare := TrimNULs(c.body); len(bare) < len(c.body) {
				a.bodies[1] = bare
			}
			wanted, err := ParseToken(c.token)
			if err != nil {
				t.Fatalf("parse token: %v", err)
			}
			a.want(wanted)
			counted.take()
			if _, err := r.verify(t.Context(), c.id, a); !errors.Is(err, c.err) {
				t.Fatalf("error = %v, want %v", err, c.err)
			}
			if got := counted.take(); got != "hget" || a.hashes != c.hashes {
				t.Errorf("commands %q and %d hashes, want hget and %d", got, a.hashes, c.hashes)
			}
		})
	}
}

func TestSecretInUseIsRecordedOncePerChange(t *testing.T) {
	s := redistest.Start(t)
	counted := &commandCounter{}
	r := follow(t, testRegistry(t, s, func(c *RegistryConfig) {
		client := s.Client()
		client.AddHook(counted)
		c.Client = client
	}))
	put(t, r.Registry, Device{ID: imei, Secret: secret})
	if _, _, err := r.Rotate(t.Context(), imei, AnyRevision, Rotation{Secret: newer, Window: time.Hour}); err != nil {
		t.Fatalf("rotate: %v", err)
	}
	r.await(Change{Kind: ChangeDevice, Device: imei}) // the device
	r.await(Change{Kind: ChangeDevice, Device: imei}) // its new secret
	uses := func(with string, slot int) {
		t.Helper()
		counted.take()
		for range 20 {
			if p, err := r.VerifyToken(t.Context(), imei, body, Token(body, with)); err != nil || int(p.Secret) != slot {
				t.Fatalf("verify = %+v, %v", p, err)
			}
		}
		awaitLastSecret(t, r.Registry, imei, slot)
		if n := strings.Count(counted.take(), "evalsha"); n != 1 {
			t.Errorf("%d writes, want 1", n)
		}
	}
	uses(secret, 2)
	uses(newer, 1)
	uses(secret, 2)
}

// awaitLastSecret returns when it has been recorded which secret matched.
func awaitLastSecret(t *testing.T, r *Registry, id DeviceID, want int) {
	t.Helper()
	for limit := time.Now().Add(patience); ; {
		d, err := r.GetDevice(t.Context(), id)
		if err != nil {
			t.Fatalf("get: %v", err)
		}
		if d.LastSecret == want {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("last secret = %d, want %d", d.LastSecret, want)
		}
	}
}
