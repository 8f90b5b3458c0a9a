# SPDX-License-Identifier: MIT
# Hashes of hashes, arrays, string building and splitting, as log-file scripts do.
use strict;
use warnings;

my %seen;
for my $i (1 .. 150000) {
    my $line = join ' ', "host" . ($i * 7919 % 3001), "user" . ($i * 104729 % 997), "GET /path/$i/" . ('x' x ($i % 90));
    my ($host, $user, $verb, $path) = split ' ', $line;
    push @{ $seen{$host}{$user} }, $path;
    delete $seen{"host" . ($i * 31 % 3001)} if $i % 11 == 0;
}
my $total = 0;
for my $host (sort keys %seen) {
    for my $user (keys %{ $seen{$host} }) {
        $total += length join ',', map { uc } @{ $seen{$host}{$user} };
    }
}
die "nothing" unless $total > 100000;
