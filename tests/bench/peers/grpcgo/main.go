// SPDX-License-Identifier: Apache-2.0

// A keyprovider on grpc-go: the same service and packets as wlagentd, the same cryptography, the key
// in memory, and nothing else. It is what tests/bench measures wlagentd against.
//
//	grpcgo SOCKET KEY-ID KEY-IN-BASE64
package main

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/status"
)

// message is the one protobuf message of the protocol: field 1, bytes.
type message struct {
	body []byte
}

// wire is message's codec, by hand, so that no protobuf compiler for Go is needed.
type wire struct{}

func (wire) Name() string { return "proto" }

func (wire) Marshal(v interface{}) ([]byte, error) {
	body := v.(*message).body
	out := make([]byte, 0, len(body)+11)
	out = append(out, 0x0a)
	var length [binary.MaxVarintLen64]byte
	out = append(out, length[:binary.PutUvarint(length[:], uint64(len(body)))]...)
	return append(out, body...), nil
}

func (wire) Unmarshal(data []byte, v interface{}) error {
	if len(data) == 0 || data[0] != 0x0a {
		return errors.New("field 1 is missing")
	}
	size, n := binary.Uvarint(data[1:])
	if n <= 0 || uint64(len(data)-1-n) != size {
		return errors.New("field 1 is malformed")
	}
	v.(*message).body = append([]byte(nil), data[1+n:]...)
	return nil
}

type request struct {
	Op     string `json:"op"`
	Unwrap struct {
		Annotation []byte `json:"annotation"`
	} `json:"keyunwrapparams"`
}

type reply struct {
	Unwrap struct {
		OptsData []byte `json:"optsdata"`
	} `json:"keyunwrapresults"`
}

type packet struct {
	Kid         string `json:"kid"`
	WrappedData []byte `json:"wrapped_data"`
	IV          []byte `json:"iv"`
	WrapType    string `json:"wrap_type"`
}

type provider struct {
	keys map[string]cipher.AEAD
}

func (p *provider) unwrap(_ context.Context, in *message) (*message, error) {
	var r request
	if err := json.Unmarshal(in.body, &r); err != nil || r.Op != "keyunwrap" {
		return nil, status.Error(codes.InvalidArgument, "not an unwrap request")
	}
	var wrapped packet
	if err := json.Unmarshal(r.Unwrap.Annotation, &wrapped); err != nil || wrapped.WrapType != "A256GCM" {
		return nil, status.Error(codes.InvalidArgument, "not a packet of ours")
	}
	key, known := p.keys[wrapped.Kid]
	if !known {
		return nil, status.Errorf(codes.NotFound, "no key %q", wrapped.Kid)
	}
	if len(wrapped.IV) != key.NonceSize() {
		return nil, status.Error(codes.InvalidArgument, "the iv has the wrong size")
	}
	plain, err := key.Open(nil, wrapped.IV, wrapped.WrappedData, nil)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "the packet was not wrapped with this key")
	}
	var out reply
	out.Unwrap.OptsData = plain
	body, err := json.Marshal(&out)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &message{body}, nil
}

func handleUnwrap(srv interface{}, ctx context.Context, decode func(interface{}) error,
	_ grpc.UnaryServerInterceptor) (interface{}, error) {
	in := new(message)
	if err := decode(in); err != nil {
		return nil, err
	}
	return srv.(*provider).unwrap(ctx, in)
}

var service = grpc.ServiceDesc{
	ServiceName: "keyprovider.KeyProviderService",
	HandlerType: (*interface{})(nil),
	Methods:     []grpc.MethodDesc{{MethodName: "UnWrapKey", Handler: handleUnwrap}},
}

func run(socket, id, encodedKey string) error {
	key, err := base64.StdEncoding.DecodeString(encodedKey)
	if err != nil {
		return err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	encoding.RegisterCodec(wire{})
	server := grpc.NewServer()
	server.RegisterService(&service, &provider{map[string]cipher.AEAD{id: aead}})
	return server.Serve(listener)
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: grpcgo SOCKET KEY-ID KEY-IN-BASE64")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "grpcgo:", err)
		os.Exit(1)
	}
}
