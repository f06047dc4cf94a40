(* tq4.v - what chapter 5 says of its integers.
   1. The unnormalised Walsh-Hadamard transform is its own inverse up to the factor 2^k.
   2. Sums of integers do not depend on their order.
   3. The bounds of a linear layer: a group's sum fits int32, a row's sum fits int64. *)
Require Import ZArith List Lia Permutation.
Import ListNotations.
Open Scope Z_scope.

(* Vectors of 2^k integers as a tree of halves. *)
Fixpoint vec (k : nat) : Type := match k with O => Z | S k => (vec k * vec k)%type end.

Fixpoint add k : vec k -> vec k -> vec k :=
  match k with
  | O => Z.add
  | S k => fun u v => (add k (fst u) (fst v), add k (snd u) (snd v))
  end.

Fixpoint scale k (c : Z) : vec k -> vec k :=
  match k with
  | O => Z.mul c
  | S k => fun v => (scale k c (fst v), scale k c (snd v))
  end.

(* H (a, b) = (H a + H b, H a - H b): Sylvester's order. *)
Fixpoint H k : vec k -> vec k :=
  match k with
  | O => fun v => v
  | S k => fun v => let a := H k (fst v) in let b := H k (snd v) in
                    (add k a b, add k a (scale k (-1) b))
  end.

Lemma regroup k : forall a b c d e,
  add k (add k a (scale k e b)) (add k c (scale k e d)) =
  add k (add k a c) (scale k e (add k b d)).
Proof.
  induction k; intros.
  - cbn [vec add scale] in *. ring.
  - destruct a, b, c, d. simpl. now rewrite !IHk.
Qed.

Lemma regroup_minus k : forall a b c d e,
  add k (add k a (scale k e b)) (scale k (-1) (add k c (scale k e d))) =
  add k (add k a (scale k (-1) c)) (scale k e (add k b (scale k (-1) d))).
Proof.
  induction k; intros.
  - cbn [vec add scale] in *. ring.
  - destruct a, b, c, d. simpl. now rewrite !IHk.
Qed.

Lemma H_linear k : forall u v c, H k (add k u (scale k c v)) = add k (H k u) (scale k c (H k v)).
Proof.
  induction k; intros; [reflexivity|].
  destruct u, v. simpl. now rewrite !IHk, regroup, regroup_minus.
Qed.

Lemma add_scale1 k : forall u v, add k u v = add k u (scale k 1 v).
Proof.
  induction k; intros.
  - cbn [vec add scale] in *. ring.
  - destruct u, v. simpl. now rewrite <- !IHk.
Qed.

Lemma halves_sum k : forall a b e,
  add k (add k (scale k e a) (scale k e b)) (add k (scale k e a) (scale k (-1) (scale k e b))) =
  scale k (2 * e) a.
Proof.
  induction k; intros.
  - cbn [vec add scale] in *. ring.
  - destruct a, b. simpl. now rewrite !IHk.
Qed.

Lemma halves_difference k : forall a b e,
  add k (add k (scale k e a) (scale k e b))
        (scale k (-1) (add k (scale k e a) (scale k (-1) (scale k e b)))) =
  scale k (2 * e) b.
Proof.
  induction k; intros.
  - cbn [vec add scale] in *. ring.
  - destruct a, b. simpl. now rewrite !IHk.
Qed.

Theorem H_twice k : forall v, H k (H k v) = scale k (2 ^ Z.of_nat k) v.
Proof.
  induction k; intros.
  - cbn. destruct v; reflexivity.
  - destruct v as [a b]. cbn [H fst snd].
    rewrite (H_linear k (H k a) (H k b) (-1)), (add_scale1 k (H k a) (H k b)), H_linear,
      <- add_scale1, !IHk, halves_sum, halves_difference.
    replace (2 ^ Z.of_nat (S k)) with (2 * 2 ^ Z.of_nat k)
      by (rewrite Nat2Z.inj_succ, Z.pow_succ_r; lia).
    reflexivity.
Qed.

(* Order is free. *)
Definition sum := fold_right Z.add 0.

Theorem sum_order : forall l m, Permutation l m -> sum l = sum m.
Proof. unfold sum. induction 1; simpl; lia. Qed.

(* A sum of n terms, each within b. *)
Lemma sum_bound : forall b l, 0 <= b -> Forall (fun x => Z.abs x <= b) l ->
  Z.abs (sum l) <= Z.of_nat (length l) * b.
Proof.
  induction l; intros B F; [cbn; lia|].
  inversion F; subst. specialize (IHl B H3).
  change (sum (a :: l)) with (a + sum l). rewrite (Nat2Z.inj_succ (length l) : Z.of_nat (length (a :: l)) = _).
  lia.
Qed.

(* One product scale * level * activation. *)
Lemma product_bound : forall s c q, Z.abs s <= 128 -> Z.abs c <= 128 -> Z.abs q <= 127 ->
  Z.abs (s * c * q) <= 2080768.
Proof.
  intros. rewrite !Z.abs_mul.
  assert (Z.abs s * Z.abs c <= 128 * 128) by (apply Z.mul_le_mono_nonneg; lia).
  assert (Z.abs s * Z.abs c * Z.abs q <= 128 * 128 * 127) by (apply Z.mul_le_mono_nonneg; lia).
  lia.
Qed.

(* |I| of a group of at most 128 products. *)
Theorem group_fits_int32 : forall l, (length l <= 128)%nat ->
  Forall (fun x => Z.abs x <= 2080768) l -> Z.abs (sum l) < 2 ^ 28.
Proof.
  intros l N F. pose proof (sum_bound 2080768 l ltac:(lia) F). change (2 ^ 28) with 268435456. lia.
Qed.

(* |Y|: n groups of G columns with n * G <= 65536; each I is at most G * 2080768, each factor
   m 2^(e - E + 16) at most 255 * 65536. *)
Theorem row_fits_int64 : forall n g l, 0 <= g -> Z.of_nat (length l) = n -> n * g <= 65536 ->
  Forall (fun x => Z.abs x <= g * 2080768 * (255 * 65536)) l -> Z.abs (sum l) < 2 ^ 61.
Proof.
  intros n g l G N B F.
  pose proof (sum_bound (g * 2080768 * (255 * 65536)) l ltac:(lia) F) as S. rewrite N in S.
  replace (n * (g * 2080768 * (255 * 65536))) with (n * g * (2080768 * (255 * 65536))) in S by ring.
  change (2 ^ 61) with 2305843009213693952. lia.
Qed.

Print Assumptions H_twice.
Print Assumptions row_fits_int64.
