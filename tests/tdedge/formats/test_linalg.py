import numpy as np
import pytest

from tdedge.formats.linalg import GRAM_ROWS, left_singular, singular_values, split, svd_for_tensorly, unfold

SHAPES = [(7, 40), (40, 7), (6, 6), (1, 5), (5, 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_vectors_are_those_of_the_whole_svd(shape):
    matrix = np.random.default_rng(0).normal(size=shape)
    expected_vectors, expected, _ = np.linalg.svd(matrix, full_matrices=False)
    vectors, values = left_singular(matrix, min(shape))
    np.testing.assert_allclose(values, expected, rtol=1e-12)
    np.testing.assert_allclose(singular_values(matrix), expected, rtol=1e-12)
    np.testing.assert_allclose(np.abs(vectors.T @ expected_vectors), np.eye(min(shape)), atol=1e-10)


@pytest.mark.parametrize("rank", [1, 40, GRAM_ROWS])
def test_large_matrices_give_the_same_by_their_gram_matrix(rank):
    matrix = np.random.default_rng(3).normal(size=(GRAM_ROWS, GRAM_ROWS + 60))
    expected_vectors, expected, _ = np.linalg.svd(matrix, full_matrices=False)
    vectors, values = left_singular(matrix, rank)
    np.testing.assert_allclose(values, expected[:rank], rtol=1e-9)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(rank), atol=1e-12)
    kept = expected_vectors[:, :rank]
    np.testing.assert_allclose(vectors @ vectors.T, kept @ kept.T, atol=1e-9)


def test_split_of_a_large_deficient_matrix_is_exact():
    rng = np.random.default_rng(4)
    matrix = rng.normal(size=(GRAM_ROWS, 5)) @ rng.normal(size=(5, GRAM_ROWS + 10))
    for rank in (5, 100):
        left, right = split(matrix, rank)
        np.testing.assert_allclose(left @ right, matrix, atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_more_vectors_than_there_are_is_all_of_them(shape):
    vectors, values = left_singular(np.ones(shape), 99)
    assert vectors.shape == (shape[0], min(shape)) and values.shape == (min(shape),)


@pytest.mark.parametrize("shape", [(7, 40), (40, 7)])
def test_split_is_the_best_approximation_with_equal_scales(shape):
    matrix = np.random.default_rng(1).normal(size=shape)
    left, right = split(matrix, 3)
    tail = np.linalg.svd(matrix, compute_uv=False)[3:]
    assert np.linalg.norm(matrix - left @ right) == pytest.approx(np.linalg.norm(tail))
    np.testing.assert_allclose(np.linalg.norm(left, axis=0), np.linalg.norm(right, axis=1))


def test_split_of_a_deficient_matrix_is_finite_and_exact():
    matrix = np.outer(np.arange(4.0), np.ones(9))
    left, right = split(matrix, 4)
    np.testing.assert_allclose(left @ right, matrix, atol=1e-13)
    assert not np.isnan(split(np.zeros((2, 3)), 2)[1]).any()


def test_the_svd_for_tensorly_is_one():
    matrix = np.random.default_rng(2).normal(size=(5, 8))
    u, s, v = svd_for_tensorly(matrix, random_state=None)
    np.testing.assert_allclose(u * s @ v, matrix, atol=1e-12)
    np.testing.assert_allclose(v @ v.T, np.eye(5), atol=1e-12)
    assert [part.shape for part in svd_for_tensorly(matrix, n_eigenvecs=2)] == [(5, 2), (2,), (2, 8)]


def test_unfold_runs_over_the_modes_in_order():
    tensor = np.arange(24).reshape(2, 3, 4)
    np.testing.assert_array_equal(unfold(tensor, 1), tensor.transpose(1, 0, 2).reshape(3, 8))
    np.testing.assert_array_equal(unfold(tensor, 2, 0), tensor.transpose(2, 0, 1).reshape(8, 3))
