package auth

import "errors"

// ErrRevision: the thing is no longer of the revision that the change was meant for.
var ErrRevision = errors.New("changed since it was read")

// AnyRevision lets a change happen to whatever is there.
const AnyRevision = 0

// Revision tells one state of the device from the next: ModifiedAt in Unix ms.
func (d *Device) Revision() int64 { return d.ModifiedAt.UnixMilli() }

// Revision tells one state of the app from the next: ModifiedAt in Unix ms.
func (a *App) Revision() int64 { return a.ModifiedAt.UnixMilli() }
