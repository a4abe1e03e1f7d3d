package broker

import "errors"

// What a [Keeper] knows of a session; any other error of its says nothing.
var (
	// ErrTaken: another connection has opened the session since.
	ErrTaken = errors.New("session taken over by another connection")
	// ErrRemoved: the session was removed, or has expired.
	ErrRemoved = errors.New("session removed")
	// ErrSessions: the app has as many sessions as it may have.
	ErrSessions = errors.New("too many sessions of this app")
)
